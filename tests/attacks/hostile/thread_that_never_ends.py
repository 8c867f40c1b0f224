# kind: hangs
# through: hang
# form: program
# seconds: 0.3
import threading

threading.Thread(target=threading.Event().wait).start()
print("done")
