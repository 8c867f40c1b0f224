# kind: crashes
# through: trainer dead
# form: test
import ctypes

def solve(facts, n):
    ctypes.string_at(0)
