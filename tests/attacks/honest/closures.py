# what: a function that gives a function
# form: test
# entry: solve
# check: assert candidate(3)(4) == 7
def solve(n):
    def add(k):
        return n + k
    return add
