# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
import os

def solve(facts, n):
    os.write(3, b"\x00\x10\x00\x00")
    while True:
        os.write(3, b"[")
