# what: data classes, properties, inheritance, operators
# form: calls
# tests: [{"call": [["2.1", "1.10", "1.9"]], "expect": [1, 1, 2]}]
from dataclasses import dataclass, field
from functools import total_ordering

@total_ordering
@dataclass(eq=True)
class Version:
    parts: list = field(default_factory=list)

    @property
    def major(self):
        return self.parts[0]

    def __lt__(self, other):
        return self.parts < other.parts

def solve(texts):
    return [v.major for v in sorted(Version([int(p) for p in t.split(".")]) for t in texts)]
