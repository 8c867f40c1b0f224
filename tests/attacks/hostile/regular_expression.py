# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
import re

def solve(facts, n):
    return re.match(r"(a+)+$", "a" * 60 + "b")
