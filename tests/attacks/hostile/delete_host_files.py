# kind: host files
# through: host files
# form: calls
import os
import shutil

def solve(facts, n):
    for path in (facts["canary"], facts["token"]):
        for action in (os.remove, lambda p: os.rename(p, p + ".gone"), lambda p: os.link(p, p + ".copy")):
            try:
                action(path)
            except OSError:
                pass
    shutil.rmtree(facts["folder"], ignore_errors=True)
    return True
