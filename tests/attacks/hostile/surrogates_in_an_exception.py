# kind: bytes that break the plumbing
# through: trainer dead
# form: test
class Odd(Exception):
    pass


Odd.__name__ = "\ud800" * 1000

def solve(facts, n):
    raise Odd("\udfff\0" * 100_000)
