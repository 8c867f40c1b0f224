"""One vLLM server over HTTP: completions by token ids, adapters by name, and what it must show before it is used.

Always true here: a server that could not do its part raises `ServerFailed`, and another one may be asked the same; what no
server would do raises `BadInput`; an answer from another model than the one asked for raises `SyncFailed`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..configs.errors import BadInput
from .engine import Completion, Request, Sampling, SyncFailed, seed_of
from .record import StopReason

HEALTH_SECONDS = 10.0
LOAD_SECONDS = 300.0
PROBE = list(range(1, 17))
"""Token ids that every vocabulary has."""
REASONS = {"stop": StopReason.EOS, "length": StopReason.LENGTH}
START = "start it with `journeyman serve-rollouts`"


class ServerFailed(Exception):
    """This server did not do it; another one, or this one later, may."""


class ServerRefused(ServerFailed):
    """It answers, but as it was started it can't be used: waiting mends nothing."""


@dataclass(frozen=True)
class Adapter:
    """A version of the adapter as servers know it."""

    name: str
    folder: Path

    @classmethod
    def of(cls, folder: Path, version: int) -> Adapter:
        """Named by version and content.

        So no name ever stands for two sets of weights, not even across runs or processes that share a server: what a server holds
        under the name, in its registry or its prefix cache, is always this.
        """
        digest = hashlib.sha256((folder / "adapter_config.json").read_bytes())
        with (folder / "adapter_model.safetensors").open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        return cls(f"policy-v{version}-{digest.hexdigest()[:12]}", folder)


class Server:
    """What is known of one server, and the calls to it.

    Args:
        url: such as http://host:8000.
        client: shared by all servers.
    """

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url, self._client = url, client
        self.up = False
        """Whether it has shown all it must and has the current adapter."""
        self.trouble = "not asked yet"
        """Why it is not up."""
        self.refused = False
        self.base = ""
        """Its name for the model without adapter."""
        self.lock = asyncio.Lock()
        """Held while it is let in or takes an adapter."""
        self.under_way: set[asyncio.Future[Completion]] = set()
        self.served = 0
        """Requests that it has answered."""

    async def complete(self, request: Request, sampling: Sampling, eos: Sequence[int], model: str) -> Completion:
        """One completion; the same request gets the same random numbers from whichever server.

        Raises:
            ServerFailed: it is gone, too slow, broken, or has no such model any more.
            BadInput: it refuses the request.
            SyncFailed: another model answered.
        """
        began = time.perf_counter()
        body = {
            "model": model, "prompt": list(request.prompt_ids), "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": sampling.top_k, "min_p": sampling.min_p,
            "repetition_penalty": 1.0, "seed": seed_of(request), "stop_token_ids": list(eos), "ignore_eos": True,
            "logprobs": 0, "return_token_ids": True, "return_tokens_as_token_ids": True, "add_special_tokens": False,
            "skip_special_tokens": False,
        }  # fmt: skip
        reply = await self._ask("POST", "/v1/completions", body)
        if reply.status_code == 404:
            raise ServerFailed(f"has no {model} any more: {_said(reply)}")
        if reply.status_code in (408, 429):
            raise ServerFailed(f"has too much to do: {_said(reply)}")
        if reply.status_code != 200:
            raise BadInput(f"{self.url} refuses a request: {_said(reply)}")
        answer = _json(reply)
        try:
            (choice,), usage = answer["choices"], answer["usage"]
            ids, logprobs = list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"])
            reason, prompt, answered = choice["finish_reason"], choice["prompt_token_ids"], answer["model"]
        except (KeyError, TypeError, ValueError) as error:
            raise ServerRefused(
                f"answers without token ids and their log-probs ({error!r}): is it vLLM 0.24+?"
            ) from error
        if answered != model:
            raise SyncFailed(f"{self.url} answered with {answered} where {model} was asked for")
        if reason not in REASONS:
            raise ServerFailed(f"ended a request early ({reason})")
        if prompt != body["prompt"] or len(ids) != len(logprobs):
            raise ServerRefused("did not read the prompt as it was sent, or left log-probs out")
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return Completion(ids, logprobs, REASONS[reason], cached, 0.0, time.perf_counter() - began)

    async def check_health(self) -> None:
        """Raise ServerFailed unless it says that it is well."""
        reply = await self._ask("GET", "/health", seconds=HEALTH_SECONDS)
        if reply.status_code != 200:
            raise ServerFailed(f"/health answers {reply.status_code}")

    async def check(self) -> None:
        """Everything but the adapter that it must show before it gets requests.

        Raises:
            ServerFailed: it is not there (yet).
            ServerRefused: it is no vLLM server, wants a key, or reports log-probs of another distribution than it samples from.
        """
        await self.check_health()
        self.base = next((card["id"] for card in await self._models() if not card.get("parent")), "")
        # The one token that top-k leaves has probability 1, if that is taken after the cut (ties, which are rare, share it).
        probe = await self.complete(Request(PROBE, (0, 0, 0)), Sampling(8, top_k=1), (), self.base)
        if sum(logprob > -1e-6 for logprob in probe.logprobs) < 2:
            raise ServerRefused(
                f"reports log-probs before temperature and cuts; {START}, or with --logprobs-mode processed_logprobs"
            )

    async def load(self, adapter: Adapter) -> None:
        """Make it load `adapter`; returns once it has said that it did.

        Raises:
            ServerFailed: it is not there, or did not acknowledge.
        """
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        reply = await self._ask("POST", "/v1/load_lora_adapter", body, LOAD_SECONDS, errors=False)
        if reply.status_code == 400 and "already been loaded" in reply.text:
            if await self._can_read(adapter.name):
                return
            await self.unload(adapter.name)  # of a run that is over: it could not be read again
            reply = await self._ask("POST", "/v1/load_lora_adapter", body, LOAD_SECONDS, errors=False)
        if reply.status_code == 200:
            return
        said = _said(reply)
        if reply.status_code == 404 and '"error"' not in reply.text:
            said = f"it takes no adapters at run time; {START}"
        elif "No adapter found" in said:
            said += "; give a folder that every server sees under the same path"
        elif "rank" in said:
            said += f"; {START} and --max-lora-rank"
        raise ServerRefused(f"did not load {adapter.name} from {adapter.folder}: {said}")

    async def _models(self) -> list[dict[str, Any]]:
        """Its base and the adapters that it has."""
        reply = await self._ask("GET", "/v1/models", seconds=HEALTH_SECONDS)
        if reply.status_code in (401, 403):
            raise ServerRefused("wants a key: set VLLM_API_KEY to the one it was started with")
        try:
            return [{"id": str(card["id"]), **card} for card in _json(reply)["data"]]
        except (KeyError, TypeError) as error:
            raise ServerRefused("does not list models as vLLM does: is it the right address?") from error

    async def _can_read(self, name: str) -> bool:
        """Whether the files from which it loaded the adapter are still there: it reads them again when it needs the memory."""
        return any(card["id"] == name and Path(str(card.get("root"))).is_dir() for card in await self._models())

    async def score(self, model: str) -> list[float]:
        """Log-probs of a few fixed tokens: what servers of the same weights agree on.

        Raises:
            ServerFailed: it is not there, or does not give them.
        """
        body = {"model": model, "prompt": PROBE, "max_tokens": 1, "prompt_logprobs": 0, "add_special_tokens": False}
        reply = await self._ask("POST", "/v1/completions", body)
        if reply.status_code != 200:
            raise ServerFailed(f"does not score a prompt: {_said(reply)}")
        try:
            scores = _json(reply)["choices"][0]["prompt_logprobs"][1:]
            return [float(score[str(token)]["logprob"]) for token, score in zip(PROBE[1:], scores, strict=True)]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ServerRefused(f"does not score a prompt ({error!r}): is it vLLM 0.24+?") from error

    async def unload(self, name: str) -> None:
        """Make it forget an adapter, if it is there and has it."""
        try:
            await self._ask("POST", "/v1/unload_lora_adapter", {"lora_name": name}, HEALTH_SECONDS, errors=False)
        except ServerFailed:
            return

    async def _ask(
        self, method: str, path: str, body: Any = None, seconds: float | None = None, errors: bool = True
    ) -> httpx.Response:
        limit = httpx.USE_CLIENT_DEFAULT if seconds is None else seconds
        try:
            reply = await self._client.request(method, self.url + path, json=body, timeout=limit)
        except httpx.HTTPError as error:
            raise ServerFailed(f"{path}: {type(error).__name__} {error}".strip()) from error
        if errors and reply.status_code >= 500:
            raise ServerFailed(f"{path} answers {reply.status_code}: {_said(reply)}")
        return reply


async def opened(urls: Sequence[str], timeout: float) -> tuple[httpx.AsyncClient, list[Server]]:
    """The servers at `urls`, in the running loop, and the client that they share.

    Args:
        timeout: seconds for one completion.
    """
    key = os.environ.get("VLLM_API_KEY")
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(timeout, connect=10.0),
        # vLLM closes a connection after 5 idle seconds: never send on one that it is about to close.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        trust_env=False,
    )
    return client, [Server(url, client) for url in urls]


def addresses(urls: Sequence[str]) -> list[str]:
    """The addresses without what may follow host and port, each once.

    Raises:
        BadInput: there is none, or one is none.
    """
    if isinstance(urls, str) or not urls:
        raise BadInput("the servers are a list of addresses, such as [http://host:8000]")
    plain = []
    for url in urls:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise BadInput(f"{url!r} is no address of a server: {error}") from error
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise BadInput(f"{url!r} is no address of a server; it should look like http://host:8000")
        plain.append(url.rstrip("/").removesuffix("/v1"))
    return list(dict.fromkeys(plain))


def _json(reply: httpx.Response) -> Any:
    try:
        return reply.json()
    except ValueError as error:
        raise ServerRefused(f"answers no JSON: {reply.text[:100]!r}") from error


def _said(reply: httpx.Response) -> str:
    """The server's own words, in one line."""
    try:
        text = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = reply.text
    return " ".join(str(text).split())[:400] or f"status {reply.status_code}"
