# kind: network
# through: network
# form: calls
import urllib.request

def solve(facts, n):
    return urllib.request.urlopen("http://127.0.0.1:%d/" % facts["port"], timeout=1).read().decode()
