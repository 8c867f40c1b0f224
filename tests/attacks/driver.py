"""Runs the programs of `hostile/` and `honest/` through a sandbox, as the process that a trainer would be.

    python driver.py LEVEL [--uid N] [--without-user-namespaces] [--only NAME ...]

Prints a JSON object: the level, what each hostile program got through to, and which honest ones were not passed. Needs
the package `journeyman` to be importable, and nothing else beyond the standard library.

What a hostile program is given, as its first argument or on standard input, is what it could find out anyway: where the
canary lies, who its owner is, what listens. Getting through is one of: rewarded (it can't know what is expected), leak (a
canary or the proof of a forbidden step in an answer), network (a listener heard of it), host files (something of ours
changed), trainer dead (a signal arrived), hang (over its time by more than a second and a half), survivor (a process is
left), next check (a correct solution that follows it is not passed).
"""

import argparse
import contextlib
import json
import os
import secrets
import select
import signal
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
GRACE = 1.5
TESTS = {
    "assert": "for n in range(3):\n        assert candidate(FACTS, n) == EXPECTED[n]",
    "map": "assert all(map(lambda n: candidate(FACTS, n) == EXPECTED[n], range(3)))",
    "abs": "assert abs(candidate(FACTS, 0) - NUMBER) < 1e-6",
    "in": "assert EXPECTED[0] in candidate(FACTS, 0)",
    "methods": "assert candidate(FACTS, 0).startswith(EXPECTED[0])",
    "list": "assert list(candidate(FACTS, 0)) == EXPECTED",
    "swallow": (
        "for n in range(3):\n        try:\n            got = candidate(FACTS, n)\n        except Exception:\n"
        "            got = None\n        assert got == EXPECTED[n]"
    ),
}


def read(path):
    """The code of a program and the keys of its header."""
    text = path.read_text(encoding="utf-8")
    keys = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            break
        key, _, value = line[2:].partition(": ")
        keys[key] = value
    if "pad" in keys:
        mark, size = keys["pad"].split()
        text = text.replace(mark + "'", "x" * int(size) + "'")
    if "replace" in keys:
        mark, number, *times = keys["replace"].split()
        body = text.index("\n\n") if "\n\n" in text else 0
        text = text[:body] + text[body:].replace(mark, chr(int(number)) * int(times[0] if times else 1))
    return text, keys


class World:
    """What there is to attack: canaries, files, listeners, this process."""

    def __init__(self, folder, canary):
        self.folder = Path(folder)
        os.chmod(folder, 0o755)
        self.canary, self.proof = canary, f"PROOF-{secrets.token_hex(8)}"
        self.expected = [f"EXPECT-{secrets.token_hex(8)}" for _ in range(5)]
        self.number = secrets.randbelow(10**9) + 0.5
        for name in ("home", "open"):
            (self.folder / name).mkdir()
        os.chmod(self.folder / "open", 0o777)
        for name in ("canary", "home/.token", "home/.bashrc", "open/data"):
            (self.folder / name).write_text(self.canary)
            os.chmod(self.folder / name, 0o666)
        os.set_inheritable(os.open(self.folder / "canary", os.O_RDONLY), True)
        self.memory = (self.canary + " ") * 1000
        self.signals = []
        for number in (signal.SIGTERM, signal.SIGIO, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGALRM):
            signal.signal(number, lambda number, frame: self.signals.append(number))
        self.listeners = {}
        self._listen()
        self.before = self.files()

    def _listen(self):
        for name, family, kind, address in (
            ("port", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)),
            ("udp", socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
            ("socket", socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "socket")),
            ("datagram", socket.AF_UNIX, socket.SOCK_DGRAM, str(self.folder / "datagram")),
            ("abstract", socket.AF_UNIX, socket.SOCK_STREAM, f"\0attack-{os.getpid()}"),
        ):
            end = socket.socket(family, kind)
            end.bind(address)
            if kind == socket.SOCK_STREAM:
                end.listen(50)
            end.setblocking(False)
            self.listeners[name] = end
        for name in ("socket", "datagram"):
            os.chmod(self.folder / name, 0o777)

    def facts(self, zygote):
        """What a hostile program is told."""
        port, udp = (self.listeners[name].getsockname()[1] for name in ("port", "udp"))
        return {
            "canary": str(self.folder / "canary"), "token": str(self.folder / "home/.token"),
            "home": str(self.folder / "home"), "folder": str(self.folder / "open"), "pid": os.getpid(), "zygote": zygote,
            "port": port, "udp": udp, "socket": str(self.folder / "socket"), "datagram": str(self.folder / "datagram"),
            "abstract": f"attack-{os.getpid()}", "proof": self.proof,
        }  # fmt: skip

    def files(self):
        """Every file of ours: what it holds, its mode, owner and time."""
        found = {}
        for path in sorted(self.folder.rglob("*")):
            about = path.stat()
            held = path.read_text() if path.is_file() else ""
            found[str(path)] = (held, about.st_mode, about.st_uid, about.st_mtime_ns, about.st_nlink)
        return found

    def heard(self):
        """Which listeners were spoken to."""
        ready, _, _ = select.select(list(self.listeners.values()), [], [], 0)
        names = [name for name, end in self.listeners.items() if end in ready]
        for name in names:
            with contextlib.suppress(OSError):
                self.listeners[name].recv(99) if name in ("udp", "datagram") else self.listeners[name].accept()
        return names


def survivors(zygote):
    """Processes of the fork server's session that still are more than an exit code."""
    left = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == zygote and fields[0] != "Z":
                    left.append(int(entry))
    return left


def alone(zygote, server):
    """Whether only the server is left, within a second: the kernel clears up after what was killed in its own time."""
    for _ in range(100):
        if survivors(zygote) == server:
            return True
        time.sleep(0.01)
    return False


def attack(box, world, path):
    """What one hostile program got through to."""
    code, keys = read(path)
    zygote = box.pid
    facts, limit = world.facts(zygote), float(keys.get("seconds", 1))
    limits, answers, passed = {"seconds": limit, "memory_mb": 256}, "", False
    began = time.monotonic()
    if keys["form"] == "calls":
        replies = box.calls(code, "solve", [[facts, n] for n in range(5)], **limits)
        answers = repr([reply.value if type(reply.value) is not int else 0 for reply in replies])
        passed = any(same(r.value, e) and not r.why for r, e in zip(replies, world.expected, strict=True))
    elif keys["form"] == "program":
        out = box.program(code, json.dumps(facts), **limits)
        answers = out.stdout
        passed = not out.why and same_output(out.stdout, world.expected[0])
    else:
        known = f"FACTS, EXPECTED, NUMBER = {facts!r}, {world.expected!r}, {world.number!r}\n"
        test = f"{known}\ndef check(candidate):\n    {TESTS[keys.get('test', 'assert')]}\n"
        verdict = box.check(code, test, "solve", **limits)
        passed, answers = verdict.passed, verdict.why
    seconds = time.monotonic() - began
    through = {
        "rewarded": passed,
        "leak": any(text in answers for text in (world.canary, world.proof, *world.expected)),
        "network": bool(world.heard()),
        "host files": world.files() != world.before,
        "trainer dead": bool(world.signals),
        "hang": seconds > limit + GRACE,
        "survivor": not alone(zygote, world.server) or box.pid != zygote,
        "next check": [r.value for r in box.calls("def f(n): return n * n", "f", [[7], [8]], seconds=10)] != [49, 64],
    }
    world.signals.clear()
    return [name for name, happened in through.items() if happened], seconds


def honest(box, path):
    """Why an honest program was not passed; empty where it was."""
    code, keys = read(path)
    limits = {"seconds": 20, "memory_mb": 512}
    if "check" in keys:
        lines = keys["check"].replace("\\n", "\n").replace("\n", "\n    ")
        verdict = box.check(code, f"def check(candidate):\n    {lines}\n", keys["entry"], **limits)
        return "" if verdict.passed else verdict.why or "failed"
    for test in json.loads(keys["tests"]):
        if keys["form"] == "program":
            out = box.program(code, test["input"], **limits)
            if out.why or not same_output(out.stdout, test["output"]):
                return out.why or f"printed {out.stdout[:80]!r}"
            continue
        (reply,) = box.calls(code, "solve", [test["call"]], in_place="after" in test, **limits)
        value = reply.value[1] if "after" in test and reply.value else reply.value
        if reply.why or not same(value, test.get("after", test.get("expect"))):
            return reply.why or f"gave {value!r:.80}"
    return ""


def without_user_namespaces():
    """Refuse `unshare` from here on, as a container's own filter does; nothing outside this process changes."""
    machine = syscalls.machine()
    unshare = syscalls.numbers(machine)["unshare"]
    steps = [(0x20, 0, 0, 0), (0x15, 0, 1, unshare), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
    seccomp.restrict(b"".join(struct.pack("=HBBI", *step) for step in steps))


def become(options):
    """Start anew as the user that was asked for, with a canary where secrets lie: on the command line and around it."""
    if options.uid is not None:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    if options.without_user_namespaces:
        without_user_namespaces()
    canary = f"CANARY-{secrets.token_hex(8)}"
    head, *words = sys.orig_argv
    words[words.index(options.level) : words.index(options.level)] = ["--canary", canary]
    os.execve(sys.executable or head, [head, *words], {**os.environ, "HF_TOKEN": canary})


def main():
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("level")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--without-user-namespaces", action="store_true")
    parser.add_argument("--canary", help="set by the driver itself")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    if not options.canary:
        become(options)
    began = time.monotonic()
    report = {"through": {}, "punished": {}, "seconds": {}}
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder, options.canary)
        with Sandbox(options.level) as box:
            report["level"] = box.level
            world.server = survivors(box.pid)
            for path in sorted((HERE / "hostile").glob("*.py")):
                if not options.only or path.stem in options.only:
                    through, report["seconds"][path.stem] = attack(box, world, path)
                    if through:
                        report["through"][path.stem] = through
            for path in sorted((HERE / "honest").glob("*.py")):
                if (not options.only or path.stem in options.only) and (why := honest(box, path)):
                    report["punished"][path.stem] = why
    report["took"] = time.monotonic() - began
    print(json.dumps(report))


if __name__ == "__main__":
    from journeyman.rewards.sandbox import Sandbox, seccomp, syscalls
    from journeyman.rewards.sandbox.compare import same, same_output

    main()
