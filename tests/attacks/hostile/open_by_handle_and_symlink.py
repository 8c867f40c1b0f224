# kind: secrets in token files
# through: leak
# form: calls
import re

def found(texts):
    for text in texts:
        hit = re.search(r"EXPECT-[0-9a-f]{16}|CANARY-[0-9a-f]{16}", text)
        if hit:
            return hit.group()
    return ""


def solve(facts, n):
    import os
    texts = []
    for path in ("/tmp/link", "link", "/dev/shm/link"):
        try:
            os.symlink(facts["canary"], path)
            texts.append(open(path).read())
        except OSError:
            pass
        try:
            os.link(facts["canary"], path + "2")
            texts.append(open(path + "2").read())
        except OSError:
            pass
    for start in ("..", "../../../../../../..", "/proc/self/root", "/proc/1/root", "/dev/fd/../root"):
        try:
            texts.append(open(start + facts["canary"]).read())
        except OSError:
            pass
    return found(texts)
