# kind: hangs
# through: hang
# form: test
# test: list
# seconds: 0.3
class Items:
    def __iter__(self):
        return self

    def __next__(self):
        while True:
            pass

def solve(facts, n):
    return Items()
