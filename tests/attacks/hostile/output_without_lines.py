# kind: output bombs
# through: trainer dead
# form: program
import sys

sys.stdout.write("\0" * (6 << 20))
sys.stdout.flush()
