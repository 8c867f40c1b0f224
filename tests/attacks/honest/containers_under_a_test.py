# what: a deque, a dict's keys, a float for an int, compared with the test's own
# form: test
# entry: solve
# check: from collections import deque\nassert candidate(3) == deque([0, 1, 2])\nassert candidate("ba") == {"a", "b"} and list(candidate("ba")) == ["b", "a"]\nassert candidate(16.0) == 4
import math
from collections import deque

def solve(given):
    if isinstance(given, int):
        return deque(range(given))
    return dict.fromkeys(given).keys() if isinstance(given, str) else math.sqrt(given)
