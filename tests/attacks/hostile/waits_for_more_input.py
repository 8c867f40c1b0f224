# kind: hangs
# through: hang
# form: program
# seconds: 0.3
import os
import time

while True:
    if not os.read(0, 1):
        time.sleep(0.05)
