# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
import os
import signal

os.kill(os.getpid(), signal.SIGSTOP)

def solve(facts, n):
    os.kill(os.getpid(), signal.SIGSTOP)
    while True:
        pass
