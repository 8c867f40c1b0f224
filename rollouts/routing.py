"""Which server gets a prompt: prompts that begin alike belong together, as far as the load allows."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Mapping, Sequence

BOUND, SLACK = 1.25, 16
"""A server gets no more than BOUND times its share of the requests under way, or SLACK where that is more."""


def route(prompt_ids: Sequence[int], loads: Mapping[str, int]) -> str:
    """Which server gets a prompt: the same one each time, so that a group finds its prefix cached.

    Rendezvous hashing (Thaler and Ravishankar, 1998), so a server that goes moves no prompt but its own, with loads bounded
    (Mirrokni et al., arXiv:1608.01350): what would be too much for one server goes to the prompt's next.

    Args:
        loads: requests under way by the address of each server that is up; at least one.
    """
    most = max(SLACK, math.ceil(BOUND * (sum(loads.values()) + 1) / len(loads)))
    prompt = hashlib.blake2b(array("q", prompt_ids).tobytes(), digest_size=16).digest()
    order = sorted(loads, key=lambda url: hashlib.blake2b(prompt + url.encode(), digest_size=8).digest())
    return next((url for url in order if loads[url] < most), order[0])
