# kind: hangs
# through: hang
# form: calls
import json
import os
import struct

def solve(facts, n):
    prime = 2**61 - 1
    keys = ",".join('[{"i":"%x"},0]' % (k * prime) for k in range(1, 90_000))
    data = ('[0,"value",{"d":[%s]}]' % keys).encode()
    os.write(3, struct.pack("!I", len(data)))
    while data:
        data = data[os.write(3, data):]
