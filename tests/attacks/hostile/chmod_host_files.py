# kind: host files
# through: host files
# form: calls
import os

def solve(facts, n):
    for path in (facts["canary"], facts["folder"], facts["home"]):
        for action in (
            lambda: os.chmod(path, 0o777),
            lambda: os.chown(path, 12345, 12345),
            lambda: os.utime(path, (0, 0)),
            lambda: os.truncate(path, 0),
            lambda: os.setxattr(path, "user.planted", b"x"),
        ):
            try:
                action()
            except OSError:
                pass
    return True
