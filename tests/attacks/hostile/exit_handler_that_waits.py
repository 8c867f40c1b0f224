# kind: hangs
# through: hang
# form: program
# seconds: 0.3
import atexit
import time

atexit.register(time.sleep, 1e6)
print("done")
