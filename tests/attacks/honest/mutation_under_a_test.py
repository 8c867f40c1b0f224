# what: changes its argument; the test's own list stays as it was
# form: test
# entry: solve
# check: given = [1, 2, 3]; assert candidate(given) == given[::-1]; assert candidate(given) == [3, 2, 1]
def solve(items):
    result = [items.pop(0) for _ in range(len(items))]
    return result[::-1]
