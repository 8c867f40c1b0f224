"""What happens beside the steps of a training: validation, metrics, the live line, limits and signals.

Always true here: the trainer gets evaluation as a function; nothing in here changes an update.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback
from transformers.trainer_utils import IntervalStrategy

from .run_folder import RunFolder


class Validation(TrainerCallback):
    """Measures the policy every `every` steps and at the end, and has the best adapter kept.

    Args:
        measure: step -> mean quality on validation; called on every rank.
        keep: called with (quality, step) when no earlier adapter was better; called on every rank.
        best: (quality, step) already reached, where a run is resumed.
        done: the last step that has been measured.
        report: hands a log to the trackers; for the score before the first step, which no other log is about.
    """

    def __init__(
        self,
        measure: Callable[[int], float],
        every: int,
        keep: Callable[[float, int], None],
        best: tuple[float, int] = (-math.inf, -1),
        done: int = -1,
        report: Callable[[dict[str, Any]], Any] = lambda logs: None,
    ) -> None:
        self.measure, self.every, self.keep, self.best = measure, every, keep, best
        self.last, self.done, self.report = math.nan, done, report

    def validate(self, step: int) -> float:
        """Measure now, unless this step has been measured."""
        if step > self.done:
            self.last, self.done = self.measure(step), step
            if self.last >= self.best[0]:  # of equals the later one: it has seen more
                self.best = (self.last, step)
                self.keep(self.last, step)
        return self.last

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step > self.done and math.isfinite(score := self.validate(state.global_step)):
            self.report({"validation": score})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        last = control.should_training_stop or state.global_step >= state.max_steps
        if self.every and (last or state.global_step % self.every == 0):
            self.validate(state.global_step)
            if args.logging_strategy != IntervalStrategy.NO:
                control.should_log = True  # whatever logging_steps is: a score is logged at its own step

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.validate(state.global_step)


class Metrics(TrainerCallback):
    """Writes every log of the trainer into metrics.jsonl, with the last validation beside it."""

    def __init__(self, folder: RunFolder, validation: Validation) -> None:
        self.folder, self.validation = folder, validation

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if not state.is_world_process_zero or not logs or not logs.keys() & {"reward", "loss"}:
            return
        if self.validation.done == state.global_step:
            logs["validation"] = self.validation.last
        self.folder.append_metrics({"step": state.global_step, **logs})


class TimeLimit(TrainerCallback):
    """Ends training at the first step that ends after `seconds`; every rank follows rank 0's clock."""

    def __init__(self, seconds: float, agree: Callable[[bool], bool]) -> None:
        self.seconds, self.agree, self.began = seconds, agree, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.agree(time.monotonic() - self.began >= self.seconds):
            control.should_training_stop = True


class StopOnSignal(TrainerCallback):
    """SIGTERM or Ctrl-C: checkpoint at the end of the step in progress, then stop. A second one ends at once."""

    def __init__(self, agree: Callable[[bool], bool]) -> None:
        self.agree, self.asked, self.stopped = agree, False, False
        self.before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked = True
        try:
            print("journeyman: stopping at the end of this step; once more ends at once", file=sys.stderr, flush=True)
        except (
            OSError
        ):  # the terminal has been closed: what is said from here on goes nowhere, and the run ends in order
            nowhere = os.open(os.devnull, os.O_WRONLY)
            for stream in (1, 2):
                os.dup2(nowhere, stream)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.agree(self.asked):
            self.stopped = control.should_save = control.should_training_stop = True


class LiveLine(TrainerCallback):
    """Reward, validation, tokens a second and time left: a live line in a terminal, a line now and then elsewhere.

    `limit` is the run's `max_seconds`, where it has one.
    """

    SECONDS: Literal[10] = 10
    """Between two plain lines."""

    def __init__(self, validation: Validation, limit: float | None = None) -> None:
        self.validation, self.limit = validation, limit
        self.label = os.environ.get("JOURNEYMAN_LABEL", "")  # set where several runs write to one terminal
        self.console = Console(file=sys.stderr)
        self.progress: Progress | None = None
        self.printed = self.began = self.first = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began, self.first = time.monotonic(), state.global_step
        if self.console.is_terminal and not self.label:
            self.progress = Progress(
                TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"),
                TimeRemainingColumn(), console=self.console,
            )  # fmt: skip
            self.progress.start()
            self.progress.add_task("", total=state.max_steps, completed=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        what = next((key for key in ("reward", "loss") if key in (logs or {})), None)
        if logs is None or what is None:
            return
        text = f"{what} {math.nan if logs[what] is None else logs[what]:.3f}  validation {self.validation.last:.3f}"
        if "tokens_per_second" in logs:
            text += f"  {logs['tokens_per_second']:,.0f} tokens/s"
        if self.progress is not None:
            self.progress.update(self.progress.task_ids[0], completed=state.global_step, description=text)
        elif time.monotonic() - self.printed >= self.SECONDS or state.global_step == state.max_steps:
            self.printed = time.monotonic()
            each = (self.printed - self.began) / max(state.global_step - self.first, 1)
            left = each * (state.max_steps - state.global_step)
            if self.limit is not None:
                left = min(left, max(0.0, self.limit - (self.printed - self.began)))
            steps = f"{state.global_step}/{state.max_steps}" if self.limit is None else str(state.global_step)
            print(f"{self.label}step {steps}  {text}  {time_text(left)} left", file=sys.stderr, flush=True)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.progress is not None:
            self.progress.stop()


def time_text(seconds: float) -> str:
    """`45s`, `3m10s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"
