# kind: hangs
# through: hang
# form: calls
import json
import os
import struct

def solve(facts, n):
    data = json.dumps([0, "value", {"q": ["1e30000000"]}]).encode()
    os.write(3, struct.pack("!I", len(data)) + data)
