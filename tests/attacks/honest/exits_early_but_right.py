# what: leaves by os._exit once it has printed
# form: program
# tests: [{"input": "1", "output": "2"}]
import os
import sys

print(int(input()) + 1)
sys.stdout.flush()
os._exit(0)
