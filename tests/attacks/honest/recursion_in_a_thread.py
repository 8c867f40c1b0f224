# what: the usual trick of contests: a thread with a big stack
# form: program
# tests: [{"input": "40000", "output": "40000"}]
import sys
import threading

sys.setrecursionlimit(1 << 20)
threading.stack_size(1 << 27)

def depth(n):
    return 0 if n == 0 else 1 + depth(n - 1)

def main():
    print(depth(int(input())))

thread = threading.Thread(target=main)
thread.start()
thread.join()
