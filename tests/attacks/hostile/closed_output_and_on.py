# kind: hangs
# through: hang
# form: program
# seconds: 0.3
import os
import time

os.close(1)
os.close(3)
time.sleep(1e6)
