# what: sorts the list that it is given, and returns it
# form: calls
# tests: [{"call": [[3, 1, 2]], "expect": [1, 2, 3]}, {"call": [[3, 1, 2]], "expect": [1, 2, 3]}]
def solve(items):
    items.sort()
    items.append(items.pop())
    return items
