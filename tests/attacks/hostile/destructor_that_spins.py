# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
class Spin:
    def __del__(self):
        while True:
            pass

def solve(facts, n):
    Spin()
    return True
