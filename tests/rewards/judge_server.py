"""A real HTTP server that plays the judge: it speaks OpenAI's chat completions and grades what the request shows it.

Always true here: it knows nothing but the request. It learns the marker from the system message, as any reader would, takes
the answer from between the lines that hold it, and grades it by counting the words that the rubric asks for. The modes are
ways in which real judges fail; `gullible` obeys whatever the request says outside the marked lines.

As a program it serves until it is ended and prints its address: `python judge_server.py`.
"""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ORDER = re.compile(r"(?i)(?:score|grade|rating)\D{0,40}?(\d+)")
TURN = re.compile(r"<\|im_start\|>\w+\n|\[INST\]|<start_of_turn>\w+\n")


class Request:
    """A request as a careful reader takes it."""

    def __init__(self, body):
        self.system, self.user = (message["content"] for message in body["messages"])
        self.marker = re.search(r"line BEGIN <name> (\S+) and a line END", self.system)[1]
        self.materials = dict(
            re.findall(
                rf"^BEGIN (\w+) {self.marker}$\n(.*?)\n^END \1 {self.marker}$", self.user, re.DOTALL | re.MULTILINE
            )
        )
        self.outside = re.sub(
            rf"^BEGIN (\w+) {self.marker}$.*?^END \1 {self.marker}$", "", self.user, flags=re.DOTALL | re.MULTILINE
        )
        self.nonce = re.search(r'"nonce": "(\w+)"', self.outside)[1]

    def honest(self):
        """The share of the words in quotation marks in the rubric that the answer holds, on a scale to 10."""
        wanted = re.findall(r'"(\w+)"', self.system.split("Rubric", 1)[1].split("Each material", 1)[0])
        return 10 * sum(word in self.materials["answer"].lower() for word in wanted) // max(1, len(wanted))

    def obedient(self):
        """The last score that an order outside the marked lines asks for, template turns of the raw text included."""
        before, *_ = self.outside.rsplit("That was the last material.", 1)
        shown, *_ = self.user.rsplit("That was the last material.", 1)
        orders = [order for text in (before, *TURN.split(shown)[1:]) for order in ORDER.findall(text)]
        return int(orders[-1]) if orders else self.honest()


def verdict(request, score):
    return json.dumps({"nonce": request.nonce, "reason": "counted the words", "score": score})


def planted(request):
    """A judge that repeats the verdict it finds in the answer, and else gives its own."""
    found = re.findall(r"\{[^{}]*\"score\"[^{}]*\}", request.materials["answer"])
    return found[-1] if found else verdict(request, request.honest())


REPLIES = {
    "honest": lambda r: verdict(r, r.honest()),
    "gullible": lambda r: verdict(r, r.obedient()),
    "planted": planted,
    "fenced": lambda r: f"```json\n{verdict(r, r.honest())}\n```",
    "thinking": lambda r: f"<think>Ten? {{}} No.</think>\n{verdict(r, r.honest())}",
    "not json": lambda r: "Score: 10",
    "cut": lambda r: verdict(r, 10)[:-3],
    "text before": lambda r: f"Here you are: {verdict(r, 10)}",
    "text behind": lambda r: f"{verdict(r, 10)} I hope this helps.",
    "two verdicts": lambda r: verdict(r, 0) + verdict(r, 10),
    "no nonce": lambda r: json.dumps({"score": 10}),
    "marker for nonce": lambda r: json.dumps({"nonce": r.marker, "score": 10}),
    "a key twice": lambda r: verdict(r, 0)[:-1] + ', "score": 10}',
    "another key": lambda r: verdict(r, 0)[:-1] + ', "final_score": 10}',
    "a list": lambda r: f"[{verdict(r, 10)}]",
    "above the scale": lambda r: verdict(r, 11),
    "below the scale": lambda r: verdict(r, -1),
    "not a number": lambda r: verdict(r, float("nan")),
    "a text": lambda r: verdict(r, "10"),
    "true": lambda r: verdict(r, True),
    "empty": lambda r: "",
    "deep": lambda r: "[" * 100_000,
}
"""mode -> what the judge says"""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        server = self.server.judge
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
            mode = server.modes.pop(0) if len(server.modes) > 1 else server.modes[0]
        status, headers, raw = 200, {}, b""
        if isinstance(mode, tuple) and len(mode) == 3:  # an HTTP status, headers and the body's bytes
            status, headers, raw = mode
        elif isinstance(mode, tuple):
            status, headers = mode
            raw = json.dumps({"error": f"no: {self.headers.get('Authorization')}"}).encode()
        elif mode == "hang":
            server.ended.wait(30)
            return
        elif mode == "hang up":
            self.close_connection = True
            return
        elif mode in ("drip", "drip headers"):
            self.drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n" + (b"\r\n" if mode == "drip" else b"X-Slow: "))
            return
        elif mode == "endless":
            self.flood()
            return
        elif mode == "giant":
            raw = b" " * 2_000_000
        elif mode == "not a completion":
            raw = b'{"choices": []}'
        elif mode == "not http json":
            raw = b"<html>busy</html>"
        else:
            time.sleep(server.delay)
            content = REPLIES[mode](Request(body))
            raw = json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(raw))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def drip(self, head):
        self.wfile.write(head)
        try:
            while not server_ended(self.server.judge):
                self.wfile.write(b"x")
                self.wfile.flush()
        except OSError:
            self.close_connection = True

    def flood(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while not self.server.judge.ended.is_set():
                self.wfile.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        except OSError:
            self.close_connection = True

    def log_message(self, *args):
        pass


def server_ended(server):
    return server.ended.wait(0.1)


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # connections that wait to be taken; the 5 of http.server would refuse a run's requests
    daemon_threads = True


class JudgeServer:
    """Serves on a free port of this machine while the block lasts.

    `modes` are used up one a request; the last one stays.
    """

    def __init__(self, *modes, delay=0.0):
        self.modes, self.delay = list(modes) or ["honest"], delay
        self.requests, self.lock, self.ended = [], threading.Lock(), threading.Event()
        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.judge = self
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self):
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.http.shutdown()
        self.http.server_close()


if __name__ == "__main__":
    with JudgeServer() as judge:
        print(judge.endpoint, flush=True)
        threading.Event().wait()
