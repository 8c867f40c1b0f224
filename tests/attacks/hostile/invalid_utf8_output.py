# kind: bytes that break the plumbing
# through: trainer dead
# form: program
import os

os.write(1, bytes(range(256)) * 100)
