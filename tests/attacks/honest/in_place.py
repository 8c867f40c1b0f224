# what: works in place and returns nothing
# form: calls
# tests: [{"call": [[1, 2, 3]], "after": [[3, 2, 1]]}, {"call": [[]], "after": [[]]}]
def solve(items):
    items[:] = items[::-1]
