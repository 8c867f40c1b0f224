"""Rewards that hang, crash, eat memory and raise: what the executor has to live with."""

import asyncio
import os
import signal
import threading
import time

from journeyman.rewards import UNDECIDED, group_reward, reward


@reward(isolated=True, timeout=1.0)
def good(completion, answer, log_extra, log_metric):
    log_extra("seen", completion)
    log_metric("length", len(completion))
    return float(completion == answer)


@reward(isolated=True, timeout=1.0)
def hangs(completion):
    while completion == "bad":
        time.sleep(0.01)
    return 1.0


@reward(isolated=True, timeout=1.0)
def hangs_and_ignores_signals(completion):
    for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while completion == "bad":
        pass
    return 1.0


@reward(isolated=True, timeout=5.0)
def crashes(completion):
    if completion == "bad":
        os.abort()
    return 1.0


@reward(isolated=True, timeout=5.0)
def exits(completion):
    if completion == "bad":
        os._exit(0)
    return 1.0


@reward(isolated=True, timeout=5.0, memory_mb=256)
def eats_memory(completion):
    return 1.0 if completion != "bad" else float(len(bytearray(2**32)))


@reward(isolated=True, timeout=5.0, memory_mb=256)
def eats_memory_in_small_bites(completion):
    held = []
    while completion == "bad":
        held.append(bytearray(2**20))
    return 1.0


@reward(isolated=True, timeout=5.0)
def raises(completion):
    if completion == "bad":
        raise ZeroDivisionError("this completion can't be judged")
    return 1.0


@reward(isolated=True, timeout=5.0)
def returns_nonsense(completion):
    return "yes"


@reward(isolated=True, timeout=0.5, overrun=0.0)
def blames_the_completion(completion):
    while completion == "bad":
        time.sleep(0.01)
    return 1.0


@reward(isolated=True)
async def asynchronous(completion):
    await asyncio.sleep(0)
    return 1.0


@group_reward(isolated=True)
def ranks(completions):
    return [float(sorted(completions).index(completion)) for completion in completions]


calls = []


def parse(answer):
    calls.append(answer)
    return {"value": int(answer)}


@reward(gold=parse)
def against_gold(completion, gold):
    return float(int(completion) == gold["value"])


@reward(isolated=True, gold=parse)
def against_gold_far_away(completion, gold, log_extra):
    log_extra("parsed", len(calls))
    log_extra("process", os.getpid())
    return float(int(completion) == gold["value"])


def plain_equality(completion, answer):
    return 1.0 if completion == answer else UNDECIDED


@reward(isolated=True, fast=plain_equality)
def equality(completion, answer, log_extra):
    log_extra("process", os.getpid())
    return float(completion.strip() == answer)


together = threading.Barrier(8, timeout=20)


@reward(concurrent=True)
def waits_for_seven_others(completion):
    together.wait()
    return 1.0


@reward(isolated=True)
def says_where(completion, log_extra):
    log_extra("process", os.getpid())
    return 1.0
