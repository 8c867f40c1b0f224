# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
import time

def solve(facts, n):
    time.sleep(1e6)
