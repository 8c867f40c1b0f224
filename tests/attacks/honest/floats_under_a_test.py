# what: a float that the test compares in its own way
# form: test
# entry: solve
# check: assert abs(candidate([0.1, 0.2, 0.3]) - 0.2) < 1e-9; assert round(candidate([1, 2]), 1) == 1.5
def solve(numbers):
    return sum(numbers) / len(numbers)
