# what: generators, also sent as an answer
# form: test
# entry: solve
# check: assert list(candidate(8)) == [0, 1, 1, 2, 3, 5, 8, 13]; assert next(candidate(1)) == 0; assert sum(candidate(5)) == 7; assert 13 in candidate(9)
def solve(n):
    a, b = 0, 1
    for _ in range(n):
        yield a
        a, b = b, a + b
