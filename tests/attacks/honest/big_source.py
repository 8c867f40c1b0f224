# what: a source of 300 KB
# form: calls
# pad: <FILLER> 300000
# tests: [{"call": [1], "expect": 300001}]
TABLE = '<FILLER>'

def solve(n):
    return len(TABLE) + n
