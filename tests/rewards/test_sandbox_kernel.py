"""The kernel's side: numbers against its headers, and the filter's verdicts by running it as the kernel would."""

import os
import re
import struct
from pathlib import Path

import pytest
from journeyman.rewards.sandbox import seccomp, syscalls

HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}
PID = 1234
ALLOW, EPERM, ENOSYS, KILL = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_headers(machine):
    if not Path(HEADERS[machine]).exists():
        pytest.skip("the kernel's headers are not installed")
    text = Path(HEADERS[machine]).read_text()
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)\b", text)}
    offsets = dict(re.findall(r"#define __NR3264_(\w+) (\d+)\b", text))
    numbers |= {
        name: int(offsets[to]) for name, to in re.findall(r"#define __NR_(\w+) __NR3264_(\w+)", text) if to in offsets
    }
    ours = syscalls.numbers(machine)

    assert {name: numbers[name] for name in ours if name in numbers} == {n: ours[n] for n in ours if n in numbers}
    assert ours.keys() - numbers.keys() <= {"newfstatat"}


def verdict(code, machine, number, arguments=()):
    """What the kernel would do, by its own rules for such programs."""
    values = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("=IIQ6Q", number, syscalls.AUDIT[machine], 0, *[value % 2**64 for value in values])
    steps, at, held = list(struct.iter_unpack("=HBBI", code)), 0, 0
    while True:
        operation, yes, no, value = steps[at]
        at += 1
        if operation == 0x20:
            (held,) = struct.unpack_from("=I", data, value)
        elif operation == 0x54:
            held &= value
        elif operation == 0x06:
            return value
        else:
            held_true = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[operation]
            at += yes if held_true else no


CASES = [
    ("read", (), ALLOW), ("openat", (), ALLOW), ("mmap", (), ALLOW), ("futex", (), ALLOW),
    ("clone", (0x3D0F00,), ALLOW), ("clone", (17,), EPERM), ("clone3", (), ENOSYS),
    ("kill", (PID, 15), ALLOW), ("kill", (PID, 9), EPERM),
    ("kill", (1, 15), EPERM), ("kill", (-1, 15), EPERM), ("kill", (0, 15), EPERM),
    ("tgkill", (PID, PID + 1, 6), ALLOW), ("tgkill", (1, 1, 6), EPERM), ("tgkill", (PID, PID, 9), EPERM),
    ("socketpair", (1, 1), ALLOW), ("socketpair", (1, 0x80801), ALLOW),
    ("socketpair", (1, 2), EPERM), ("socketpair", (2, 1), EPERM),
    ("sendto", (3, 0, 0, 0, 0, 0), ALLOW),
    ("sendto", (3, 0, 0, 0, 0x7F00, 16), EPERM), ("sendto", (3, 0, 0, 0, 1 << 40, 16), EPERM),
    ("fcntl", (3, 3), ALLOW), ("fcntl", (3, 8), EPERM),
    ("fcntl", (3, 10), EPERM), ("ioctl", (0, 0x5401), ALLOW), ("ioctl", (0, 0x5412), EPERM),
    ("prctl", (15,), ALLOW), ("prctl", (4,), EPERM), ("prlimit64", (0,), ALLOW), ("prlimit64", (99,), EPERM),
    ("unshare", (), EPERM), ("setns", (), EPERM),
    ("mount", (), EPERM), ("recvmsg", (), EPERM), ("seccomp", (), EPERM),
    ("fchmod", (), EPERM), ("truncate", (), EPERM),
]  # fmt: skip
REFUSED = {
    "execve": (59, 221), "execveat": (322, 281), "socket": (41, 198),
    "connect": (42, 203), "bind": (49, 200), "ptrace": (101, 117),
    "process_vm_readv": (310, 270), "io_uring_setup": (425, 425), "bpf": (321, 280), "memfd_create": (319, 279),
    "pidfd_send_signal": (424, 424), "rt_sigqueueinfo": (129, 138),
    "sendmsg": (46, 211), "setpriority": (141, 140), "keyctl": (250, 219),
    "setuid": (105, 146), "chroot": (161, 51),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "beyond the last": (999, 999),
}  # fmt: skip


@pytest.mark.parametrize("machine", HEADERS)
def test_what_the_filter_says(machine):
    code = seccomp.Filter(machine).code(PID)
    numbers = syscalls.numbers(machine)

    assert [(name, a, verdict(code, machine, numbers[name], a)) for name, a, _ in CASES] == CASES
    for name, both in REFUSED.items():
        assert verdict(code, machine, both[machine == "aarch64"]) == EPERM, name


def test_the_other_flavour_of_calls_and_another_architecture():
    code = seccomp.Filter("x86_64").code(PID)

    assert verdict(code, "x86_64", 0x40000000 | 1) == EPERM
    assert verdict(code, "aarch64", 63) == KILL


@pytest.mark.parametrize("machine", HEADERS)
def test_files_may_be_changed_only_with_scratch_room(machine):
    numbers = syscalls.numbers(machine)
    lite, ns = (seccomp.Filter(machine, scratch).code(PID) for scratch in (False, True))
    for name in ("fchmod", "unlinkat", "renameat2", "truncate", "utimensat"):
        assert (verdict(lite, machine, numbers[name]), verdict(ns, machine, numbers[name])) == (EPERM, ALLOW)


def test_a_failed_call_raises_with_its_number():
    with pytest.raises(OSError, match="chdir") as error:
        syscalls.call("chdir", os.fsencode("/no/such/place"))
    assert error.value.errno == 2
