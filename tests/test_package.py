"""The house: which folders are packages, who may import whom, and what a wheel holds."""

import ast
import os
import re
import statistics
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path

import pytest
from journeyman.scripts.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
FOLDERS = sorted(p.parent.name for p in ROOT.glob("*/__init__.py"))
NESTED = ["rewards/sandbox"]
"""Packages in a folder's folder: what the sandbox runs in a process of its own is kept apart from the rest."""
LAYERS = ["scripts", "recipes", "hub", "evals", "trainers", "rollouts", "envs", "rewards", "configs"]
"""design.md: a folder may import only from those under it."""
NOT_EITHER = {"evals": {"trainers"}}
"""Its last column, where that says more than the order and WITHOUT_TORCH."""
MODULES = sorted(p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).parts[0] in LAYERS or p == ROOT / "__init__.py")
HEAVY = {"torch", "transformers", "trl", "peft", "accelerate"}
WITHOUT_TORCH = ["configs", "rewards", "envs"]


def name_of(path):
    """`trainers/grpo.py` -> journeyman.trainers.grpo"""
    return ".".join(["journeyman", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def imports(path):
    """(line, absolute dotted name) of every import in a file, those inside functions too."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = [*base, *(node.module.split(".") if node.module else [])]
            if len(stem) > 1 or not node.level:
                yield node.lineno, ".".join(stem)
            else:  # from .. import evals
                for alias in node.names:
                    yield node.lineno, ".".join([*stem, alias.name])


def test_the_list_of_packages_is_the_folders():
    nested = [f"journeyman.{name.replace('/', '.')}" for name in NESTED]
    assert sorted(PACKAGES) == sorted(["journeyman", *(f"journeyman.{name}" for name in FOLDERS), *nested])
    assert sorted(LAYERS) == FOLDERS
    deeper = {str(p.parent.relative_to(ROOT)) for name in FOLDERS for p in (ROOT / name).glob("*/**/*.py")}
    assert deeper == set(NESTED), "a module in another folder of a folder would not be packaged"


def cases():
    """Every module; those that break a rule today are expected to, by name, and fail the test once they no longer do."""
    for path in MODULES:
        name = str(path.relative_to(ROOT))
        yield pytest.param(path, id=name)


@pytest.mark.parametrize("path", list(cases()))
def test_a_layer_imports_only_those_under_it(path):
    layer = path.relative_to(ROOT).parts[0] if path.parent != ROOT else "scripts"
    allowed = set(LAYERS[LAYERS.index(layer) :]) - NOT_EITHER.get(layer, set())
    wrong = []
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] in FOLDERS:
            wrong.append(f"{line}: 'import {name}' would make a second copy of the module; import it relatively")
        if parts[0] == "journeyman" and len(parts) > 1 and parts[1] in LAYERS and parts[1] not in allowed:
            wrong.append(f"{line}: {layer} may not import {parts[1]}")
        if layer in WITHOUT_TORCH and parts[0] in HEAVY:
            wrong.append(f"{line}: {layer} may not import {parts[0]}")
    assert not wrong


def python(code, **env):
    """Run `code` where `journeyman` is installed, away from the checkout."""
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, **env},
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("layer", [*WITHOUT_TORCH, "the package itself"])
def test_what_needs_no_torch_loads_none(layer):
    names = [name_of(p) for p in MODULES if p.relative_to(ROOT).parts[0] == layer] or ["journeyman"]
    done = python(f"import {', '.join(names)}, sys; print(sorted(sys.modules.keys() & {HEAVY!r}))")

    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    "words", [[], *([name] for name in COMMANDS)], ids=lambda words: " ".join(words) or "journeyman"
)
def test_help_answers_at_once_and_loads_no_torch(words):
    code = (
        "import sys; from journeyman.scripts.main import main\n"
        f"try: main({[*words, '--help']!r})\n"
        f"finally: print(sorted(sys.modules.keys() & {HEAVY | {'datasets', 'numpy'}!r}), file=sys.stderr)"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = python(code)
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0 and "usage: journeyman" in done.stdout and done.stderr.strip() == "[]", done.stderr

    assert statistics.median(seconds) < 0.5


@pytest.mark.xdist_group("together")
def test_tests_that_belong_together_run_in_one_worker(request):
    """pytest-xdist keeps a group together by a suffix of the test's id, which pytest 9.2 no longer lets it add."""
    several = request.config.getoption("loadgroup", False)
    assert request.node.nodeid.endswith("@together") is several


def test_every_command_has_its_file():
    files = {p.stem.removesuffix("_command").replace("_", "-") for p in (ROOT / "scripts").glob("*_command.py")}

    assert files == set(COMMANDS)


def test_what_the_guarantees_name_is_there():
    text = (ROOT / "docs" / "guarantees.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| Test |" not in line]
    named = [re.fullmatch(r".* \| `(tests/[\w/]+\.py)::(\w+)` \|", row) for row in rows]

    assert len(rows) > 40 and all(named), [row for row, match in zip(rows, named, strict=True) if not match]
    for file, test in (match.groups() for match in named):
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), f"{file}::{test}"
    for path in re.findall(rf"`((?:{'|'.join(LAYERS)})/[\w/.]*)`", text):
        assert (ROOT / path).exists(), path


def build(source, target, kind):
    """Build a wheel or sdist with the setuptools of this environment: nothing is downloaded."""
    done = subprocess.run(
        [sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", str(target), str(source)],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = target.iterdir()
    return made


def held(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the tracked and new files: building leaves nothing in the checkout."""
    target = tmp_path_factory.mktemp("copy") / "any-name"
    words = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    for name in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


@pytest.mark.long
def test_wheel_and_sdist_hold_every_module_and_config_and_no_tests(copy, tmp_path):
    wanted = {"/".join(["journeyman", *p.relative_to(ROOT).parts]) for p in MODULES}
    wanted |= {f"journeyman/{p.relative_to(ROOT)}" for p in (ROOT / "configs").rglob("*.yaml")} | {
        "journeyman/py.typed"
    }
    wheel = held(build(copy, tmp_path / "wheel", "wheel"))
    sdist = build(copy, tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    assert wheel == wanted
    assert held(build(unpacked, tmp_path / "again", "wheel")) == wanted


@pytest.mark.long
def test_a_wheel_works_away_from_the_checkout(copy, tmp_path):
    wheel = build(copy, tmp_path / "wheel", "wheel")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import journeyman; print(journeyman.__file__)\n"
        "from journeyman.configs.read import find_job, read_yaml, shipped_jobs\n"
        "print(sorted(shipped_jobs()), read_yaml(find_job('arithmetic'))['environment'])"
    )
    done = python(code)

    assert str(tmp_path / "site") in done.stdout and "arithmetic" in done.stdout, done.stderr
    assert "journeyman.envs.arithmetic:Arithmetic" in done.stdout
