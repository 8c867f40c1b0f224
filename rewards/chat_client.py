"""One question to a server with OpenAI's chat completions: bounded in time and in size, repeated where that can help.

Invariants: a request ends within its timeout, however slowly the server drips; an answer of more than a megabyte is refused, and
one that is compressed is not unpacked; the API key is read from the environment at the call and stands in no error and no log.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from ..configs.errors import BadInput

AGAIN = {408, 409, 429, 500, 502, 503, 504, 529}
"""HTTP statuses after which the same request may succeed."""
LONGEST_PAUSE = 60.0
"""Seconds: a server that asks for a longer pause is given up."""
MOST_BYTES = 1_000_000
CONNECTIONS = 64


@dataclass(frozen=True)
class Endpoint:
    """Where to ask and how patiently; `timeout` in seconds a request."""

    url: str
    api_key_env: str | None = None
    timeout: float = 60.0
    retries: int = 3

    @property
    def address(self) -> str:
        """The full address of a request."""
        url = self.url.rstrip("/")
        return url if url.endswith("/chat/completions") else f"{url}/chat/completions"

    def key(self) -> str | None:
        """The API key.

        Raises:
            BadInput: its variable is named and not set.
        """
        if self.api_key_env is None:
            return None
        if not os.environ.get(self.api_key_env):
            raise BadInput(
                f"the environment variable {self.api_key_env} is not set; it should hold the key of {self.url}"
            )
        return os.environ[self.api_key_env].strip()


class Unreachable(RuntimeError):
    """The endpoint gave no usable answer, after all repetitions."""


class _Failed(Exception):
    """An attempt failed; `again` says whether another may not, `pause` after how many seconds where the server said so."""

    def __init__(self, reason: str, again: bool = True, pause: float | None = None) -> None:
        super().__init__(reason)
        self.again, self.pause = again, pause


async def ask(endpoint: Endpoint, body: Mapping[str, Any]) -> str:
    """The text of the answer's first choice.

    Raises:
        Unreachable: time-outs, HTTP errors or an answer that is no chat completion.
        BadInput: the API key's variable is not set.
    """
    key = endpoint.key()
    for attempt in range(endpoint.retries + 1):
        try:
            async with asyncio.timeout(endpoint.timeout):
                return _content(await _post(endpoint.address, body, key))
        except TimeoutError:
            failed = _Failed(f"no complete answer within {endpoint.timeout:g} s")
        except _Failed as error:
            failed = error
        pause = _growing(attempt) if failed.pause is None else failed.pause
        if not failed.again or attempt == endpoint.retries or pause > LONGEST_PAUSE:
            reason = str(failed).replace(key, "[key]") if key else str(failed)
            # From None: the client's own exceptions hold the request, and the key with it.
            raise Unreachable(f"{endpoint.address}: {' '.join(reason.split())} (attempts: {attempt + 1})") from None
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _growing(attempt: int) -> float:
    """Seconds before the next attempt, spread so that many callers don't come back at once."""
    return min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1)


_clients: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()


def _client() -> Any:
    """One pool of connections an event loop. Redirects are not followed: they would take the key along."""
    import httpx

    loop = asyncio.get_running_loop()
    if loop not in _clients:
        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        _clients[loop] = httpx.AsyncClient(limits=limits, timeout=None, follow_redirects=False)
    return _clients[loop]


async def _post(address: str, body: Mapping[str, Any], key: str | None) -> bytes:
    import httpx

    # Not compressed: a few bytes of `gzip` could unpack to gigabytes.
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    headers |= {"Authorization": f"Bearer {key}"} if key else {}
    received = bytearray()
    try:
        async with _client().stream("POST", address, content=json.dumps(body).encode(), headers=headers) as response:
            if (encoding := response.headers.get("content-encoding", "identity").strip().lower()) not in (
                "",
                "identity",
            ):
                raise _Failed(f"an answer encoded as {encoding[:80]!r}, though it was asked for as it is", again=False)
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) > MOST_BYTES:
                    raise _Failed(f"an answer of more than {MOST_BYTES} bytes", again=False)
    except httpx.RequestError as error:
        raise _Failed(f"{type(error).__name__}: {error}") from None
    if response.status_code == 200:
        return bytes(received)
    raise _Failed(
        f"HTTP {response.status_code}: {_start(received)}",
        again=response.status_code in AGAIN,
        pause=_pause(response.headers.get("retry-after")),
    )


def _pause(retry_after: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, as a number or a date; None where it says nothing."""
    if not retry_after:
        return None
    if re.fullmatch(r"\s*[0-9]{1,12}\s*", retry_after):
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _content(raw: bytes) -> str:
    try:
        content = json.loads(raw)["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, LookupError, TypeError):
        content = None
    if not isinstance(content, str):
        raise _Failed(f"the answer is no chat completion: {_start(raw)}", again=False)
    return content


def _start(raw: bytes | bytearray) -> str:
    return raw[:300].decode("utf-8", "replace")
