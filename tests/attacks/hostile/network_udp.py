# kind: network
# through: network
# form: calls
import socket

def solve(facts, n):
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", ("127.0.0.1", facts["udp"]))
    return True
