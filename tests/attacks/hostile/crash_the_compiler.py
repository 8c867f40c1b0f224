# kind: crashes
# through: trainer dead
# form: calls
source = "(" * 100_000 + ")" * 100_000
try:
    compile(source, "", "eval")
except (MemoryError, RecursionError, SyntaxError):
    pass
exec("x = " + "-" * 200_000 + "1")
