"""The documentation does what it says: every example runs, in order, in a folder that holds nothing else.

A fenced block whose first line is `# file: NAME` is that file. Other Python blocks run as they stand; so does every
command of a bash block, but for those in NOT_RUN, which are checked as far as this machine can.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from journeyman.configs.read import shipped_jobs
from journeyman.configs.schema import JobConfig, check_keys, field_types
from journeyman.scripts.main import COMMANDS, build_parser, main

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")
RUN_IN_FULL = (
    "README.md",
    "docs/contracts.md",
    "docs/rewards.md",
    "docs/sandbox.md",
    "docs/audit.md",
    "docs/rollouts.md",
    "docs/tables.md",
)
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = {
    "journeyman audit --all": "a minute; tests/scripts/test_audit_command.py runs it",
    "journeyman audit --env journeyman.envs.reasoning_gym": "ten minutes; tests/scripts/test_audit_command.py runs some variants",
    "make": "installs; make itself says that the target exists",
    "journeyman prove": "minutes; the parser and the config are checked",
    "journeyman train configs/gsm8k": "a model and a dataset from the Hub, and a GPU; the config is checked",
    "journeyman train arithmetic --model_name_or_path": "a model from the Hub, and a GPU; the config is checked",
    "journeyman evaluate runs/gsm8k": "the run before it is not made here",
    "journeyman serve-rollouts": "serves until it is ended; tests/rollouts/servers/test_real_servers.py runs it",
    "journeyman env serve": "serves until it is ended; tests/envs/test_openenv.py runs it",
    "python -m journeyman.scripts.random_base": "a gigabyte; tests/scripts/test_random_base.py makes a small one",
}
"""How a command begins -> why it isn't run."""
SHORTENED = {"journeyman train arithmetic --recipe ppo": "--max_steps 80"}
"""Commands of minutes -> what is added so that they take seconds."""


def blocks(path: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(path.read_text(encoding="utf-8"))


def commands(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def journeyman(words: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0, shlex.join(words)


def check_only(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        assert all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in words[1:])
    elif words[0] == "journeyman":
        args, rest = build_parser().parse_known_args(words[1:])
        job = getattr(args, "job", None) or ""
        known = Path(job).parts[:1] == ("configs",) or job in shipped_jobs()
        if known and args.takes_overrides:  # the documents' own files are there only while their examples run
            from journeyman.recipes.command import overrides
            from journeyman.trainers.config import load_config

            # TRL refuses bf16 on a machine without a GPU, unless it is told that a CPU is meant.
            load_config(job, {**overrides(rest), "use_cpu": True}).arguments()


@pytest.mark.long
@pytest.mark.parametrize("name", RUN_IN_FULL)
def test_every_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    space: dict[str, object] = {"__name__": "__main__"}
    for kind, text in blocks(ROOT / name):
        if named := FILE.match(text):
            Path(named[1]).write_text(text[named.end() :] if kind == "csv" else text, encoding="utf-8")
        elif kind == "python":
            exec(compile(text, name, "exec"), space)
        elif kind == "bash":
            for command in commands(text):
                if command.startswith(tuple(NOT_RUN)):
                    check_only(command)
                else:
                    words = shlex.split(f"{command} {SHORTENED.get(command, '')}")
                    assert words[0] == "journeyman", f"say in NOT_RUN why this is not run: {command}"
                    journeyman(words[1:])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_and_keys_of_every_document_exist(path):
    from trl import GRPOConfig, ModelConfig

    keys = [*field_types(JobConfig), *field_types(GRPOConfig), *field_types(ModelConfig), "extends"]
    for kind, text in blocks(path):
        if kind == "yaml":
            check_keys(yaml.safe_load(text), keys, path.name)
        if kind == "bash":
            for command in commands(text):
                check_only(command)
    assert str(ROOT) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (path.parent / target).exists(), target


def test_the_table_of_commands_is_complete():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `journeyman ([\w-]+)", text, re.MULTILINE)) == sorted(COMMANDS)


def test_every_reason_is_still_needed():
    used = [line for path in DOCUMENTS for kind, text in blocks(path) if kind == "bash" for line in commands(text)]
    assert not [start for start in (*NOT_RUN, *SHORTENED) if not any(line.startswith(start) for line in used)]


def test_functions_of_the_package():
    import journeyman

    for name in journeyman.__all__:
        assert callable(getattr(journeyman, name))
    with pytest.raises(AttributeError, match="no attribute 'tarin'"):
        _ = journeyman.tarin


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, journeyman; sys.exit(bool({'torch', 'trl', 'transformers'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
