"""Interpreters for peers that can't stand beside what is installed here: virtual environments that differ in one package.

Always true here: everything but that package (torch, transformers, PEFT and what they need) is this environment's own, so that
both sides of a comparison run on the same; an environment is made once, in the cache, and used from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from ..trainers.nano import cache_folder

READY = "ready"


class NoPeer(Exception):
    """The package could not be installed; says why."""


def peer_python(requirement: str) -> str:
    """The interpreter of a virtual environment with `requirement` (such as `trl==1.12.0`), made where there is none.

    Raises:
        NoPeer: see the class.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cache_folder() / "peers" / f"{requirement}-python{version}"
    python, packages = folder / "bin" / "python", folder / "lib" / f"python{version}" / "site-packages"
    there = (folder / READY).exists() and python.exists()
    if not there:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=True)
    # After its own, so that what both have is the peer's; anew each time, for the cache may be another environment's too.
    (packages / "beside.pth").write_text("\n".join(_shared()) + "\n", encoding="utf-8")
    if there:
        return str(python)
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", requirement]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=without_paths())
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        said = (done.stderr.strip() or done.stdout.strip() or "pip said nothing").splitlines()
        raise NoPeer(f"{requirement} can't be installed here: {said[-1][:300]}")
    (folder / READY).touch()
    return str(python)


def without_paths() -> dict[str, str]:
    """The process's surroundings, less PYTHONPATH: what stands there would come before the peer's own packages."""
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def _shared() -> list[str]:
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [str(Path(p).resolve()) for p in sys.path if Path(p).is_dir() and (p in given or p.endswith("-packages"))]
