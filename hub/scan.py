"""What must never leave in a published text: secrets, e-mail addresses and paths of somebody's machine.

Always true here: a finding is refused, never repaired in silence, in files that others wrote; only our own card is
written with paths shortened to the file's name in the first place. The patterns are strict enough that the vocabulary
of a tokenizer (whose entries hold pieces of everything on the web) passes.

    for finding in findings(text):
        print(finding)                  # a Hugging Face token 'hf_AbC...' in line 3
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

_START = r"(?<![A-Za-z0-9_-])"
PATTERNS: dict[str, re.Pattern[str]] = {
    "a Hugging Face token": re.compile(_START + r"hf_[A-Za-z0-9]{20,}"),
    "a GitHub token": re.compile(_START + r"(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{30,})"),
    # A digit is asked for: style sheets are full of names such as sk-toggleable-content.
    "an API key": re.compile(_START + r"(?=sk-[A-Za-z_-]*\d)sk-[A-Za-z0-9_-]{20,}"),
    "a Google API key": re.compile(_START + r"AIza[0-9A-Za-z_-]{35}"),
    "an AWS key": re.compile(_START + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])"),
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----"),
    "a password in an address": re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s/:@'\"]+:[^\s/:@'\"]+@[\w.-]+"),
    "an e-mail address": re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*@[A-Za-z0-9](?:[\w-]*\.)+[A-Za-z]{2,}\b"),
    "a path of a machine": re.compile(
        r"(?<![\w.-])/(?:home|root|Users|tmp|private|mnt|media|scratch|workspace|kaggle|content/drive|var/(?:tmp|folders))"
        r"/[\w.+@-]+|(?<![A-Za-z])[A-Za-z]:[\\/]{1,2}Users[\\/]{1,2}[\w.+@-]+"
    ),
}
_SECRET = ("token", "key", "password")

_LOCAL_PATH = re.compile(r"(?<![\w.:/~\\-])(?:~?/|[A-Za-z]:[\\/])[^\s'\"=,;:|`]*[\\/]([^\s'\"=,;:|`\\/]+)")


def findings(text: str, private_paths: Iterable[str | Path] = ()) -> Iterator[str]:
    """One line for each thing in `text` that must not be published: what it is, how it begins, and its line.

    Args:
        text: the content of a file.
        private_paths: folders of this machine that count as a finding wherever they appear, such as the run's own.
    """
    patterns = list(PATTERNS.items())
    # A one-part folder such as /work is also an ordinary word behind a slash.
    for folder in {str(path) for path in private_paths if len(Path(path).parts) > 2}:
        patterns.append(("a path of a machine", re.compile(r"(?<![\w.-])" + re.escape(folder) + r"(?![\w-])")))
    for what, pattern in patterns:
        for match in pattern.finditer(text):
            found = match.group()
            # A message must not carry the secret on to a log.
            shown = found[:6] + "..." if any(word in what for word in _SECRET) else found
            yield f"{what} '{shown}' in line {text.count(chr(10), 0, match.start()) + 1}"


def shortened(text: str) -> str:
    """`text` with each absolute path of a machine cut to its last part: `/data/x/table.csv:f` -> `table.csv:f`."""
    return _LOCAL_PATH.sub(r"\1", text)
