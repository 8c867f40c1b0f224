# kind: crashes
# through: trainer dead
# form: test
solve = 5
