# what: hundreds of threads, one after the other, and a hundred at a time
# form: calls
# tests: [{"call": [400], "expect": 500}]
import threading

def solve(n):
    done = []
    for i in range(n):
        thread = threading.Thread(target=done.append, args=[i])
        thread.start()
        thread.join()
    threading.stack_size(1 << 18)
    gate = threading.Event()
    crowd = [threading.Thread(target=lambda: gate.wait() and done.append(0)) for _ in range(100)]
    for thread in crowd:
        thread.start()
    gate.set()
    for thread in crowd:
        thread.join()
    return len(done)
