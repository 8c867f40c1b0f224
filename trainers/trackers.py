"""The trackers of a run (trackio, wandb and so on): what they are handed, and what they may print.

Invariants: a tracker reads each log after everybody who adds to it, the validation score with it; a run's own output is not
mixed with a tracker's greeting, and whatever else it prints, such as a warning, is passed on.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from typing import Any

from transformers.integrations import TrackioCallback, get_reporting_integration_callbacks

GREETING = (
    "* Trackio project initialized:", "* Trackio metrics logged to:", "* View dashboard by running", "trackio show --project",
    "* or by running in Python:", "* NVIDIA GPU detected,", "* psutil detected,", "* Apple GPU detected,", "* Created new run:",
    "* Resumed existing run:", "* Run finished.",
)  # fmt: skip
"""How the lines begin that trackio prints in every run."""


class QuietTrackio(TrackioCallback):
    """transformers' reporter to trackio, without the lines that are the same in every run."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Begin the run in trackio."""
        with without_greeting():
            super().on_train_begin(*args, **kwargs)

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Hand a log on; the first one may begin the run."""
        with without_greeting():
            super().on_log(*args, **kwargs)

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """End the run in trackio."""
        with without_greeting():
            super().on_train_end(*args, **kwargs)

    def close(self) -> None:
        """End the run in trackio where it is still open: one that failed. At the process's end trackio would, aloud."""
        trackio = sys.modules.get("trackio")
        if trackio is not None and trackio.context_vars.current_run.get() is not None:
            with without_greeting():
                trackio.finish()


@contextlib.contextmanager
def without_greeting() -> Iterator[None]:
    """Holds back what is printed inside, and passes on every line that is not a greeting, to stderr."""
    held = io.StringIO()
    try:
        with contextlib.redirect_stdout(held):
            yield
    finally:
        for line in held.getvalue().splitlines():
            if line.strip() and not _plain(line).startswith(GREETING):
                print(line, file=sys.stderr)


def _plain(line: str) -> str:
    """`line` without its colours."""
    while "\x1b[" in line:
        before, _, after = line.partition("\x1b[")
        line = before + after.partition("m")[2]
    return line


def close_trackers(trainer: Any) -> None:
    """Have the trackers end what they have open, whether or not the run came to its end."""
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, QuietTrackio):
            callback.close()


def trackers_of(trainer: Any) -> list[Any]:
    """The trackers that transformers gave `trainer`, taken out of it: added again, they come after whatever is there by then."""
    found = [trainer.pop_callback(kind) for kind in get_reporting_integration_callbacks(trainer.args.report_to)]
    return [QuietTrackio() if isinstance(each, TrackioCallback) else each for each in found if each is not None]
