# what: uses 200 MB
# form: calls
# tests: [{"call": [7], "expect": 7}]
def solve(n):
    data = bytearray(200 << 20)
    data[-1] = n
    return data[-1]
