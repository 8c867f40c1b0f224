# kind: network
# through: network
# form: calls
import socket

def solve(facts, n):
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    one.sendto(b"out", facts["datagram"])
    return True
