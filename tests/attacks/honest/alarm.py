# what: handles its own signals and timers
# form: calls
# tests: [{"call": [7], "expect": [7]}]
import signal

def solve(n):
    seen = []
    signal.signal(signal.SIGALRM, lambda *_: seen.append(n))
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    signal.pause()
    return seen
