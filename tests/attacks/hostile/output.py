# kind: output bombs
# through: trainer dead
# form: program
while True:
    print("x" * 100_000)
