"""Trains a job in forked children and kills them, or fills the disk under them; prints what came of it as JSON.

python killed.py JOB FOLDER kills SEED COUNT     # kill -9 at random moments until COUNT have hit, then to the end
python killed.py JOB FOLDER rename STEP          # die between writing checkpoint STEP and giving it its name
python killed.py JOB FOLDER after STEP STEP ...  # die once checkpoint STEP is whole, the same command again each time
python killed.py JOB FOLDER full                 # no room left for the second checkpoint, then room again
"""

import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from journeyman.recipes import grpo, ppo
from journeyman.recipes.command import exit_code
from journeyman.trainers import checkpoints
from journeyman.trainers.config import load_config


def child(job, run, errors, before=lambda: None):
    """Start a training of `job` into `run`; its process id."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            sink = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(sink, 1)
            os.dup2(sink, 2)
            before()
            values = {"output_dir": str(run), "report_to": "none", "save_total_limit": 2}
            config = load_config(job, values)
            code = exit_code(lambda: {"grpo": grpo, "ppo": ppo}[config.recipe].train(config))
        finally:
            os._exit(code)
    return pid


def end_of(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kills(job, folder, seed, count):
    rng, hit, starts = random.Random(int(seed)), 0, 0
    began = time.monotonic()
    assert end_of(child(job, folder / "undisturbed", folder / "undisturbed.txt")) == 0
    whole = time.monotonic() - began
    while hit < int(count):
        run = folder / f"run{starts}"
        while not (run / "adapter").exists() and hit < int(count):
            pid = child(job, run, folder / "killed.txt")
            time.sleep(rng.uniform(0.1, 0.9) * whole)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            hit += end_of(pid) == -signal.SIGKILL
        code = (
            end_of(child(job, run, folder / f"end{starts}.txt"))
            if json.loads(facts(run))["status"] != "finished"
            else 0
        )
        assert code == 0, (folder / f"end{starts}.txt").read_text()
        starts += 1
    return {
        "runs": [str(folder / f"run{i}") for i in range(starts)],
        "undisturbed": str(folder / "undisturbed"),
        "kills": hit,
    }


def facts(run):
    path = run / "run.json"
    return path.read_text() if path.exists() else '{"status": null}'


def rename(job, folder, step):
    def dies_before_the_rename():
        real = checkpoints.finish

        def finish(partial, final):
            if final.name == f"checkpoint-{step}":
                os.kill(os.getpid(), signal.SIGKILL)
            real(partial, final)

        checkpoints.finish = finish

    code = end_of(child(job, folder / "run", folder / "first.txt", dies_before_the_rename))
    left = sorted(p.name for p in (folder / "run" / "checkpoints").iterdir())
    again = end_of(child(job, folder / "run", folder / "again.txt"))
    return {"code": code, "left": left, "again": again, "text": (folder / "again.txt").read_text()}


def after(job, folder, *steps):
    def dies_after_the_rename(step):
        real = checkpoints.finish

        def finish(partial, final):
            real(partial, final)
            if final.name == f"checkpoint-{step}":
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoints.finish = finish

    codes = [
        end_of(child(job, folder / "run", folder / "killed.txt", lambda step=step: dies_after_the_rename(step)))
        for step in steps
    ]
    again = end_of(child(job, folder / "run", folder / "again.txt"))
    undisturbed = end_of(child(job, folder / "undisturbed", folder / "undisturbed.txt"))
    return {"codes": codes, "again": again, "undisturbed": undisturbed, "text": (folder / "again.txt").read_text()}


def full(job, folder):
    run, ballast = folder / "run", folder / "ballast"

    def fills_the_disk():
        real = checkpoints.SafeCheckpoints._save_checkpoint

        def save(self, model, trial):
            if checkpoints.steps_of(Path(self.args.output_dir)):
                with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                    while True:
                        file.write(bytes(4096))
            real(self, model, trial)

        checkpoints.SafeCheckpoints._save_checkpoint = save

    code = end_of(child(job, run, Path("/dev/shm") / f"{os.getpid()}.txt", fills_the_disk))
    text = (Path("/dev/shm") / f"{os.getpid()}.txt").read_text()
    (Path("/dev/shm") / f"{os.getpid()}.txt").unlink()
    whole = {name: checkpoints.damage(path) for name, path in checkpoints.steps_of(run / "checkpoints")}
    ballast.unlink()
    again = end_of(child(job, run, folder / "again.txt"))
    return {"code": code, "text": text, "whole": whole, "again": again, "later": (folder / "again.txt").read_text()}


if __name__ == "__main__":
    job, folder, what, *rest = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(json.dumps({"kills": kills, "rename": rename, "after": after, "full": full}[what](job, Path(folder), *rest)))
