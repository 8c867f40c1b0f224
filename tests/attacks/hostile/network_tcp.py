# kind: network
# through: network
# form: calls
import socket

def solve(facts, n):
    with socket.create_connection(("127.0.0.1", facts["port"]), 1) as end:
        end.sendall(b"out")
    return True
