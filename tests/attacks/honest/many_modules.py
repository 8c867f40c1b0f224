# what: much of the standard library
# form: calls
# tests: [{"call": [10], "expect": "fc11d6f2"}]
import array, base64, bisect, calendar, collections, copy, csv, datetime, decimal, difflib, fractions, functools, hashlib
import heapq, html, io, itertools, json, logging, lzma, math, operator, pickle, pprint, random, re, sqlite3, statistics
import string, struct, textwrap, types, typing, unicodedata, unittest, uuid, xml.etree.ElementTree, zlib, zoneinfo

def solve(n):
    assert zlib.decompress(zlib.compress(b"x" * n)) == b"x" * n
    assert lzma.decompress(lzma.compress(b"x" * n)) == b"x" * n
    assert sqlite3.connect(":memory:").execute("select 1 + ?", [n]).fetchone() == (n + 1,)
    assert pickle.loads(pickle.dumps(Point(n, n))) == Point(n, n)
    return hashlib.sha256(b"x" * n).hexdigest()[:8]

Point = collections.namedtuple("Point", "x y")
