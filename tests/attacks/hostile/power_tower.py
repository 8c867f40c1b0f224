# kind: hangs
# through: hang
# form: calls
# seconds: 0.3
value = 9 ** 9 ** 9 ** 9
