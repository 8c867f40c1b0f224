# kind: hangs
# through: hang
# form: test
# seconds: 0.3
import signal
import threading

signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))

def solve(facts, n):
    threading.Event().wait()
