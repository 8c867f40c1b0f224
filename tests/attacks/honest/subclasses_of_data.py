# what: answers in Counter, defaultdict, named tuple, IntEnum and a text's subclass
# form: calls
# tests: [{"call": ["counter"], "expect": {"a": 2, "b": 1}}, {"call": ["default"], "expect": {"a": [1]}}, {"call": ["point"], "expect": [1, 2]}, {"call": ["colour"], "expect": 1}, {"call": ["name"], "expect": "eve"}, {"call": ["ordered"], "expect": {"a": 2, "b": 1}}]
import collections
import enum

class Colour(enum.IntEnum):
    RED = 1

class Name(str):
    pass

Point = collections.namedtuple("Point", "x y")

def solve(kind):
    return {
        "counter": collections.Counter("aab"), "default": collections.defaultdict(list, {"a": [1]}),
        "point": Point(1, 2), "colour": Colour.RED, "name": Name("eve"), "ordered": collections.OrderedDict(b=1, a=2),
    }[kind]
