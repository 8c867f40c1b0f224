# kind: memory bombs
# through: trainer dead
# form: calls
data = "x" * (1 << 36)
