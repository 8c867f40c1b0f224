# kind: hangs
# through: hang
# form: calls
# seconds: 0.4
value = 9 ** 9 ** 9 ** 9
