"""The attack corpus, as root and as an ordinary user, with user namespaces and without."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ATTACKS = ROOT / "tests" / "attacks"
HOSTILE = {path.stem: path for path in (ATTACKS / "hostile").glob("*.py")}
HONEST = {path.stem: path for path in (ATTACKS / "honest").glob("*.py")}
NEEDS_FILES = {stem for stem, path in HONEST.items() if "# level: ns" in path.read_text(encoding="utf-8")}
NOBODY = 65534
KINDS = {
    "early exit", "forged verdict", "objects that equal anything", "patched builtins", "patched modules",
    "patched comparison", "patched JSON", "stealing expected values", "secrets in the environment", "secrets in /proc",
    "secrets in parent memory", "secrets in inherited descriptors", "secrets in token files", "network", "host files",
    "start-up hooks", "signals to others", "hangs", "memory bombs", "fork bombs", "thread bombs", "output bombs",
    "disk bombs", "descriptor bombs", "crashes", "survivors", "bytes that break the plumbing",
}  # fmt: skip
BITES = {
    "steal_from_files": "leak", "token_files": "leak", "proc_environ": "leak",
    "network_tcp": "network", "network_udp": "network", "network_unix_socket": "network", "network_abstract_socket": "network",
    "network_datagram_pair_aimed_elsewhere": "network", "network_raw_system_calls": "network",
    "write_host_files": "host files",  
}  # fmt: skip
"""Attacks that can be let loose on an ordinary user's files, and what they do where nothing but limits stands in the way."""


@pytest.fixture(scope="module")
def drive():
    """Runs the driver from a copy that every user can read, on an interpreter that the user can run."""
    place = Path(tempfile.mkdtemp())  # pytest's own folders are their user's alone
    place.chmod(0o755)
    package = place / "journeyman"
    for name in ("", "configs", "rewards"):
        (package / name).mkdir()
        (package / name / "__init__.py").touch()
    shutil.copy(ROOT / "configs" / "errors.py", package / "configs")
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "rewards" / "sandbox", package / "rewards" / "sandbox", ignore=ignore)
    shutil.copytree(ATTACKS, place / "attacks", ignore=ignore)

    def run(level, *options):
        python = readable_python() if "--uid" in options else sys.executable
        done = subprocess.run(
            [python, "-s", "-B", str(place / "attacks" / "driver.py"), level, *map(str, options)],
            capture_output=True, text=True, timeout=300, env={"PYTHONPATH": str(place)}, cwd="/", check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    yield run
    shutil.rmtree(place)


def readable_python():
    """An interpreter that an ordinary user can run: ours may live in a home of root's."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    for python in (
        sys._base_executable,
        "/usr/bin/python3.13",
        "/usr/bin/python3.12",
        "/usr/bin/python3.11",
        "/usr/bin/python3",
    ):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        try:
            if not subprocess.run(
                check, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
            ).returncode:
                return python
        except OSError:
            continue
    pytest.skip("no Python 3.11 or newer on this machine can be run by an ordinary user")


MODES = {
    "the strongest": (["auto"], None),
    "lite": (["lite"], "lite"),
    "an ordinary user": (["auto", "--uid", NOBODY], None),
    "an ordinary user without user namespaces": (["auto", "--uid", NOBODY, "--without-user-namespaces"], "lite"),
}


@pytest.mark.long
@pytest.mark.parametrize(("options", "level"), MODES.values(), ids=MODES)
def test_nothing_gets_through_and_nobody_honest_is_punished(drive, options, level):
    report = drive(*options)

    assert level in (None, report["level"])
    assert report["through"] == {}
    assert set(report["seconds"]) == HOSTILE.keys()
    assert report["punished"].keys() <= (NEEDS_FILES if report["level"] == "lite" else set()), report["punished"]


def test_root_without_namespaces_gets_lite(drive):
    """As root in a container, whose filter refuses them."""
    assert drive("auto", "--without-user-namespaces", "--only", "none")["level"] == "lite"


def test_the_corpus_bites(drive):
    """Where only limits stand in the way, attacks do get through: what stops them elsewhere is the sandbox."""
    report = drive("unsafe", "--uid", NOBODY, "--only", *BITES)

    assert {name: what for name, what in BITES.items() if what not in report["through"].get(name, [])} == {}


def test_the_corpus_covers_every_kind():
    kinds = {path.read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# kind: ") for path in HOSTILE.values()}

    assert kinds == KINDS
    assert len(HOSTILE) >= 60 and len(HONEST) - len(NEEDS_FILES) >= 10 and NEEDS_FILES
