# kind: survivors
# through: survivor
# form: calls
import multiprocessing

def solve(facts, n):
    with multiprocessing.Pool(2) as pool:
        return pool.map(abs, [n])[0]
