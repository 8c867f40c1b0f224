# what: threads, a pool, locks and queues
# form: calls
# tests: [{"call": [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49]], "expect": 40475}]
import queue
import threading
from concurrent.futures import ThreadPoolExecutor

def solve(numbers):
    lock, total, done = threading.Lock(), [0], queue.Queue()

    def work(n):
        with lock:
            total[0] += n * n
        done.put(n)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, numbers))
    return total[0] + done.qsize()
