# kind: hangs
# through: hang
# form: test
# seconds: 0.3
class Spin(int):
    def __hash__(self):
        while True:
            pass

    __str__ = __repr__ = __iter__ = __hash__

def solve(facts, n):
    return Spin(3)
