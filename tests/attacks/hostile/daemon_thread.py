# kind: survivors
# through: survivor
# form: program
import threading
import time

for _ in range(10):
    threading.Thread(target=time.sleep, args=[100], daemon=True).start()
print("done")
