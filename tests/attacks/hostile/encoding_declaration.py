# kind: bytes that break the plumbing
# through: trainer dead
# form: calls
def solve(facts, n):
    return '\N{SNOWMAN}' * n


# ‮ right to left, ﻿ and  form feed
