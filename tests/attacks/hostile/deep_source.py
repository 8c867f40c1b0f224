# kind: bytes that break the plumbing
# through: trainer dead
# form: calls
# replace: <OPEN> 91 5000
def solve(facts, n):
    return <OPEN><CLOSE>
