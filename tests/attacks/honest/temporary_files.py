# what: writes and reads files, where there is room for them
# form: calls
# level: ns
# tests: [{"call": ["h\u00e9llo"], "expect": ["h\u00e9llo", ["a.txt.copy", "b.txt"], true]}]
import os
import shutil
import tempfile

def solve(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.txt")
        with open(path, "w") as file:
            file.write(text)
        shutil.copy(path, path + ".copy")
        os.rename(path, os.path.join(folder, "b.txt"))
        names = sorted(os.listdir(folder))
        with open(path + ".copy") as file:
            read = file.read()
    with open("here.txt", "w") as file:
        file.write(text)
    return [read, names, os.path.exists("here.txt")]
