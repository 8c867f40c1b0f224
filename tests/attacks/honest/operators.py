# what: a class with operators
# form: test
# entry: Vector
# check: v = candidate(1, 2) + candidate(3, 4) * 2; assert (v.x, v.y) == (7, 10); assert str(v) == "<7, 10>" 
class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __mul__(self, k):
        return Vector(self.x * k, self.y * k)

    def __str__(self):
        return f"<{self.x}, {self.y}>"
