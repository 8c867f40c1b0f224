"""What a command starts ends with it, however it ends: real processes, real signals."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import psutil
import pytest
from journeyman.configs.lifeline import tied
from journeyman.rollouts.record import read_records

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")
STEPS = 10
APART = """

@reward(isolated=True, timeout=20, weight=0.1)
def apart(completion: str) -> float:
    return len(completion) / 10
"""
STARTS = """
import subprocess, sys, time
from journeyman.configs.lifeline import tied
command = ["sleep", "60"]
process = subprocess.Popen(tied(command) if sys.argv[1] == "tied" else command, start_new_session=True)
print(process.pid, flush=True)
time.sleep(60)
"""
SERVED = """
import sys, time
from journeyman.rewards.isolated import Workers
sys.path.insert(0, sys.argv[1])
from stuck import paid
workers = Workers(1)
workers.start([paid])
print(workers._servers["stuck"]._process.pid, flush=True)
time.sleep(60)
"""
STUCK = """
import os, time
from journeyman.rewards import reward
if os.getsid(0) == os.getpid():  # the server that forks workers, which has a session of its own
    time.sleep(60)  # as a download, or a lock that nobody gives back

@reward(isolated=True)
def paid(completion: str) -> float:
    return 1.0
"""


@pytest.fixture(scope="module", autouse=True)
def no_nohup():
    """What ignores SIGHUP passes that on, and goes on without its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def gone(processes, seconds=2.0):
    """Seconds until none of them runs any more; what is left of them where that takes longer than allowed is named."""
    began = time.monotonic()

    def alive(process):
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    while left := [process for process in processes if alive(process)]:
        assert time.monotonic() - began < seconds, f"still there: {[' '.join(process.cmdline()) for process in left]}"
        time.sleep(0.02)
    return time.monotonic() - began


def below(pid):
    """The process and all that it and its own have started."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def first_pid(*words):
    """A program that prints the process id of another one, which it has started; both."""
    program = subprocess.Popen([sys.executable, "-c", *map(str, words)], stdout=subprocess.PIPE, text=True)
    return program, psutil.Process(int(program.stdout.readline()))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_tied_process_ends_with_the_one_that_started_it_and_another_does_not(number):
    for how, dies in (("tied", True), ("by hand", False)):
        program, started = first_pid(STARTS, how)
        program.send_signal(number)
        program.wait()
        if dies:
            gone([started])
        else:
            time.sleep(0.1)
            assert started.is_running() and started.status() != psutil.STATUS_ZOMBIE, "nohup and setsid are like this"
            started.kill()


def test_a_parent_that_died_before_the_process_was_tied_is_noticed():
    over = subprocess.Popen(["true"])
    over.wait()
    words = tied(["echo", "I live"])
    words[words.index(str(os.getpid()))] = str(over.pid)
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({}, 0),  # started by hand: nothing ties it
        ({"ACCELERATE_MIXED_PRECISION": "no"}, 0),  # by a launcher, which lives
        ({"ACCELERATE_MIXED_PRECISION": "no", "JOURNEYMAN_LAUNCHER": "{host}:{here}"}, 0),
        ({"ACCELERATE_MIXED_PRECISION": "no", "JOURNEYMAN_LAUNCHER": "{host}:{over}"}, -signal.SIGKILL),
        ({"ACCELERATE_MIXED_PRECISION": "no", "JOURNEYMAN_LAUNCHER": "another-machine:{over}"}, 0),
    ],
    ids=["by hand", "a launcher", "ours", "ours, dead", "ours, of another machine"],
)
def test_a_training_process_leaves_when_its_launcher_was_gone_before_it_looked(environment, code):
    over = subprocess.Popen(["true"])
    over.wait()
    known = {"host": os.uname().nodename, "here": os.getpid(), "over": over.pid}
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ACCELERATE_", "TORCHELASTIC_", "JOURNEYMAN_L"))}
    env = {**clean, **{key: value.format(**known) for key, value in environment.items()}}
    words = [sys.executable, "-c", "from journeyman.configs.lifeline import tie_to_launcher; tie_to_launcher()"]
    assert subprocess.run(words, env=env).returncode == code


def test_a_reward_server_that_hangs_as_it_loads_ends_with_the_trainer(tmp_path):
    (tmp_path / "stuck.py").write_text(STUCK)
    program, server = first_pid(SERVED, tmp_path)
    time.sleep(0.5)
    program.kill()
    program.wait()
    gone([server])


@pytest.fixture(scope="module")
def job(make_job, tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    rewards = ["tiny.py:slow", {"reward": "tiny.py:close", "weight": 0.5}, "tiny.py:apart"]
    path = make_job(folder, rewards=rewards, max_steps=STEPS, validate_every=3, save_steps=2)
    with (folder / "tiny.py").open("a") as file:
        file.write(APART)
    return path


class Run:
    """`journeyman train` in a process of its own, and what can be seen of it from outside."""

    def __init__(self, job, folder, *words, **streams):
        self.folder = folder
        command = [
            sys.executable,
            "-m",
            "journeyman.scripts.main",
            "train",
            job,
            f"--output_dir={folder}",
            "--report_to=none",
        ]
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
        self.process = subprocess.Popen([*map(str, command), *words], text=True, **streams)

    def seen(self, word):
        """Whether a process of the run has this word of its command line."""
        try:
            return any(word in process.cmdline() for process in below(self.process.pid)[1:])
        except psutil.NoSuchProcess:
            return False

    def lines(self, name):
        path = self.folder / name
        return len(path.read_text().splitlines()) if path.exists() else 0

    def until(self, condition, seconds=240):
        ends = time.monotonic() + seconds
        while not condition(self):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < ends, "nothing happened"
            time.sleep(0.005)


def owns_its_terminal():
    """A new session, of which the terminal that is the standard input is the terminal."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def after(n):
    """The moment at which `n` steps are done."""
    return lambda run: run.lines("metrics.jsonl") >= n


MOMENTS = {
    "the launcher starts": lambda run: run.seen("accelerate.commands.launch"),
    "the training process starts": lambda run: run.seen("journeyman.recipes.grpo"),
    "it has begun": lambda run: (run.folder / "run.json").exists(),
    "a step": after(1),
    "a checkpoint": lambda run: any((run.folder / "checkpoints").glob("*4*")),
    "a validation": lambda run: run.lines("records/validation-000000.jsonl") > 32 or after(7)(run),
}


def values(run, stem):
    clocks = ("first_token_s", "latency_s")
    return [{k: v for k, v in vars(r).items() if k not in clocks} for r in read_records(run, stem)]


@pytest.mark.long
def test_kill_9_at_any_moment_leaves_no_process_and_the_same_command_ends_as_if_undisturbed(
    job, tiny_base, train_here, tmp_path
):
    run, seconds = tmp_path / "run", {}
    for moment, reached in MOMENTS.items():
        killed = Run(job, run)
        killed.until(reached)
        everything = below(killed.process.pid)
        killed.process.kill()
        killed.process.wait()
        seconds[moment] = round(gone(everything), 2)
        assert not (run / "adapter").exists(), f"{moment}: it was over already"
    print("seconds until all of a run's processes were gone:", seconds)

    again = Run(job, run)
    _, err = again.process.communicate(timeout=180)
    assert again.process.returncode == 0, err
    undisturbed = train_here(tmp_path / "undisturbed", job)
    for stem in ("train", "validation"):
        assert values(run, stem) == values(undisturbed, stem)
    weights = [(r / "adapter" / "adapter_model.safetensors").read_bytes() for r in (run, undisturbed)]
    assert weights[0] == weights[1]


@pytest.mark.long
def test_a_killed_launcher_takes_its_training_processes_with_it(job, tiny_base, tmp_path):
    """Accelerate's own, with two processes, under our command and started by hand."""
    ours = Run(job, tmp_path / "ours", "--accelerate=two-cpu", "--max_steps=200")
    ours.until(after(1))
    everything = below(ours.process.pid)
    launcher = next(p for p in everything if "accelerate.commands.launch" in p.cmdline())
    launcher.kill()
    gone([p for p in everything if p.pid != ours.process.pid])
    ours.process.communicate(timeout=30)
    assert (
        ours.process.returncode == 1
        and json.loads((tmp_path / "ours" / "run.json").read_text())["status"] != "finished"
    )

    words = [
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes=1",
        "-m",
        "journeyman.recipes.grpo",
        "--config",
        job,
    ]
    plain = subprocess.Popen(
        [sys.executable, *map(str, words), f"--output_dir={tmp_path / 'plain'}", "--report_to=none", "--max_steps=200"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    metrics = tmp_path / "plain" / "metrics.jsonl"
    ends = time.monotonic() + 240
    while not metrics.exists():
        assert plain.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    everything = below(plain.pid)
    plain.kill()
    plain.wait()
    gone(everything)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_before_the_first_step_is_not_lost(job, tiny_base, tmp_path, number):
    for moment in ("the launcher starts", "the training process starts"):
        run = Run(job, tmp_path / "run")
        run.until(MOMENTS[moment])
        everything = below(run.process.pid)
        run.process.send_signal(number)
        _, err = run.process.communicate(timeout=60)
        assert run.process.returncode == 75, f"{moment}: {err}"
        assert "the same command goes on" in err and "Traceback" not in err
        gone(everything)


@pytest.mark.long
def test_a_run_whose_terminal_is_closed_stops_at_a_checkpoint(job, tiny_base, tmp_path):
    ours, theirs = pty.openpty()
    run = Run(
        job, tmp_path / "run", "--max_steps=200",
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=owns_its_terminal,
    )  # fmt: skip
    os.close(theirs)
    run.until(after(1))
    everything = below(run.process.pid)
    os.close(ours)
    assert run.process.wait(timeout=60) == 75
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "stopped"
    gone(everything)


@pytest.mark.long
def test_a_proof_that_is_killed_takes_its_arms_with_it(job, tiny_base, tmp_path):
    words = ["prove", job, f"--output={tmp_path / 'proof'}", "--report_to=none", "--max_steps=200"]
    proof = subprocess.Popen(
        [sys.executable, "-m", "journeyman.scripts.main", *map(str, words)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ends = time.monotonic() + 240
    while not (tmp_path / "proof" / "real" / "metrics.jsonl").exists():
        assert proof.poll() is None and time.monotonic() < ends
        time.sleep(0.05)
    everything = below(proof.pid)
    assert sum("journeyman.recipes.grpo" in process.cmdline() for process in everything) >= 2
    proof.kill()
    proof.wait()
    gone(everything)
