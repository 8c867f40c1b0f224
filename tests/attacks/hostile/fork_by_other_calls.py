# kind: fork bombs
# through: survivor
# form: calls
import ctypes
import os
import subprocess
import time

def solve(facts, n):
    libc = ctypes.CDLL(None, use_errno=True)
    for action in (
        libc.fork, libc.vfork if False else libc.fork, lambda: libc.syscall(57), lambda: libc.syscall(58),
        lambda: libc.syscall(56, 17, 0, 0, 0, 0), lambda: libc.syscall(435, (ctypes.c_ulong * 11)(0, 0, 0, 0, 17), 88),
        lambda: os.posix_spawn("/bin/sh", ["sh", "-c", "sleep 100"], {}),
        lambda: subprocess.Popen(["sleep", "100"]).pid, lambda: os.system("sleep 100 &") and -1,
    ):
        try:
            pid = action()
        except OSError:
            continue
        if pid == 0:
            time.sleep(100)
    return True
