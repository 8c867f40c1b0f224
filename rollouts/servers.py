"""Rollouts from vLLM servers given by their addresses: any of them may go away and come back while the run goes on.

Always true here: a request names the version of the adapter that it wants, a server gets requests only after it has acknowledged
that version, and the version moves only when every server that is up has acknowledged it; a request whose server fails is asked
elsewhere with the same random numbers, and is answered once.

    engine = ServersEngine(["http://a:8000", "http://b:8000"], eos_ids)   # each started with `journeyman serve-rollouts`
    engine.sync(model, 1)
"""

from __future__ import annotations

import asyncio
import logging
import resource
import threading
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from ..configs.errors import BadInput
from .adapter_files import AdapterFiles
from .engine import Completion, Request, Sampling, SyncFailed
from .routing import route
from .server import Adapter, Server, ServerFailed, ServerRefused, addresses, opened

log = logging.getLogger(__name__)
T = TypeVar("T")

TRIES = 6
"""Times that one request may fail before it is taken to be the cause."""
MISSES = 3
"""Health checks in a row that a server may miss before what it works on is asked elsewhere."""
KEPT = 2
"""Versions of the adapter that stay loaded: this one and the one before."""
DRAIN_SECONDS = 5.0
AGREE = 0.25
"""Mean difference (nats) of log-probs between servers that 16-bit weights explain."""


class NoServer(RuntimeError):
    """No server could be asked; the message names each of them and its trouble."""


class ServersEngine:
    """The engine protocol over vLLM servers.

    Args:
        urls: of the servers, such as http://host:8000. They serve the trainer's base.
        eos_ids: token ids that end a completion.
        folder: a folder that this machine and every server see under the same path, where the adapter's files go; shared memory
            where None, which will do while all servers are on this machine.
        timeout: seconds for one completion before it is asked elsewhere.
        patience: seconds without any server before the run gives up.
        every: seconds between two looks at a server.

    Raises:
        BadInput: no address, one that is none, or a folder where nothing can be written.
    """

    in_step = False

    def __init__(
        self,
        urls: Sequence[str],
        eos_ids: Sequence[int],
        *,
        folder: Path | None = None,
        timeout: float = 600.0,
        patience: float = 600.0,
        every: float = 1.0,
    ) -> None:
        self.policy_version, self.synced_bytes, self._pushes = 0, 0, 0
        self._eos, self._patience, self._every = sorted(set(eos_ids)), patience, every
        self._folder = _shared(folder)
        self._files = AdapterFiles(self._folder)
        self._adapter: Adapter | None = None
        self._names: list[str] = []
        self._scores: dict[str, list[float]] = {}
        self._homes: dict[tuple[int, int, int], str] = {}
        self._waiting = False
        self._slots = asyncio.Semaphore(_connections())
        plain = addresses(urls)
        # A loop of its own: connections outlive the batches, and servers that come back are seen to between them.
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="servers", daemon=True)
        self._thread.start()
        self._client, self.servers = self._start(opened(plain, timeout)).result()
        self._watches = [self._start(self._watch(server)) for server in self.servers]

    async def complete(self, request: Request, sampling: Sampling) -> Completion:
        """See `Engine.complete`.

        Raises:
            NoServer: none was up for `patience` seconds, or the request failed wherever it was asked.
            BadInput: a server refuses the request.
            SyncFailed: another model answered than was asked for.
        """
        return await asyncio.wrap_future(self._start(self._complete(request, sampling)))

    async def keep_in_step(self, rollouts: asyncio.Future[Any]) -> None:
        """See `Engine.keep_in_step`: each rank asks on its own."""

    def sync(self, model: Any, version: int) -> None:
        """See `Engine.sync`; nothing moves where this version is loaded already.

        Every rank may call it: the name of an adapter says what is in it, so servers load it once.

        Raises:
            SyncFailed: requests are under way, or every server refuses the adapter.
            NoServer: none was up for `patience` seconds.
        """
        if model is not None and not (version == self.policy_version and self._adapter is not None):
            self._pushes += 1  # versions may go back, the files' numbers must not: older ones are removed
            folder, self.synced_bytes = self._files.write(model, self._pushes)
            if self._folder is not None:
                folder.parent.chmod(0o755)  # servers may run as another user
            self._start(self._move(Adapter.of(folder, version))).result()
        self.policy_version = version

    def sample_base(self, version: int) -> None:
        """Ask for the servers' own base, as `version`, until the next `sync`."""
        self._adapter, self.synced_bytes, self.policy_version = None, 0, version
        self._homes.clear()

    def close(self) -> None:
        """Let go of the connections and remove the files; the servers go on, and other ranks may use them."""
        if self._loop.is_closed():
            return
        for watch in self._watches:
            watch.cancel()
        self._start(self._client.aclose()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._files.close()

    def _start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _complete(self, request: Request, sampling: Sampling) -> Completion:
        failures: list[str] = []
        while len(failures) < TRIES:
            async with self._slots:
                await self._some_up()
                server = self._chosen(request)
                try:
                    completion = await self._asked(server, request, sampling)
                except ServerFailed as failed:
                    self._down(server, failed)
                    failures.append(f"{server.url} {failed}")
                else:
                    server.served += 1
                    self._homes[request.stream] = server.url
                    return completion
        raise NoServer(f"a request failed {TRIES} times: {'; '.join(failures)}")

    def _chosen(self, request: Request) -> Server:
        """The server that has read most of it, as far as can be known."""
        up = {server.url: server for server in self.servers if server.up}
        home = up.get(self._homes.get(request.stream, "")) if request.turn else None
        return home or up[route(request.prompt_ids, {url: len(server.under_way) for url, server in up.items()})]

    async def _asked(self, server: Server, request: Request, sampling: Sampling) -> Completion:
        model = self._adapter.name if self._adapter else server.base
        work = asyncio.ensure_future(server.complete(request, sampling, self._eos, model))
        server.under_way.add(work)
        try:
            await asyncio.wait({work})  # tells a server that was given up from a caller that is
            if work.cancelled():
                raise ServerFailed("no longer answers")
            return work.result()
        finally:
            server.under_way.discard(work)
            work.cancel()

    async def _move(self, adapter: Adapter) -> None:
        """Make `adapter` the one that requests ask for."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):  # those whose callers gave up are ending
                while any(server.under_way for server in self.servers):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            count = sum(len(server.under_way) for server in self.servers)
            raise SyncFailed(f"{count} requests are under way; a new version waits until they are done") from None
        before, self._adapter = self._adapter, adapter  # from here on, whoever comes back must load it first
        try:
            await asyncio.gather(*(self._take(server, adapter) for server in self.servers if server.up))
            await self._some_up()
        except BaseException:
            self._adapter = before
            for server in self.servers:
                server.up = False  # each must show again what it has
            raise
        self._homes.clear()
        self._names = [name for name in self._names if name != adapter.name] + [adapter.name]
        self._scores = {adapter.name: self._scores[adapter.name]}
        old, self._names = self._names[:-KEPT], self._names[-KEPT:]
        await asyncio.gather(*(server.unload(name) for server in self.servers if server.up for name in old))

    async def _take(self, server: Server, adapter: Adapter) -> None:
        async with server.lock:
            try:
                await self._give(server, adapter)
            except ServerFailed as failed:
                self._down(server, failed)

    async def _give(self, server: Server, adapter: Adapter | None) -> None:
        """Load the adapter, and compare what the server makes of it with what the first one did.

        So the start-up proof, which asks one server, holds for all.
        """
        if adapter is not None:
            await server.load(adapter)
        scores = await server.score(adapter.name if adapter else server.base)
        first = self._scores.setdefault(adapter.name if adapter else "", scores)
        apart = sum(abs(a - b) for a, b in zip(scores, first, strict=True)) / len(first)
        if apart > AGREE:
            raise ServerRefused(
                f"gives log-probs {apart:.2g} from another server's on the same tokens: do all serve the same base?"
            )

    async def _let_in(self, server: Server) -> None:
        """Let a server have requests again, once it is well and has the current adapter."""
        async with server.lock:
            await server.check()
            while True:
                adapter = self._adapter
                await self._give(server, adapter)
                if adapter is self._adapter:  # it may have moved on meanwhile
                    break
            if server.trouble:
                log.info("%s is up, with %s", server.url, adapter.name if adapter else server.base)
            server.up, server.trouble, server.refused = True, "", False

    async def _watch(self, server: Server) -> None:
        misses = 0
        while True:
            try:
                await (server.check_health() if server.up else self._let_in(server))
                misses = 0
            except Exception as failed:  # whatever it is, it must not end the watch
                misses += 1
                if misses >= MISSES or not server.up:
                    self._down(server, failed)
                if misses >= MISSES:
                    for work in list(server.under_way):
                        work.cancel()
            await asyncio.sleep(self._every)

    def _down(self, server: Server, failed: Exception) -> None:
        refused = isinstance(failed, ServerRefused) or not isinstance(failed, ServerFailed)
        if server.up or (refused and server.trouble != str(failed)):
            log.warning("%s gets no requests: %s", server.url, failed)
        server.up, server.trouble, server.refused = False, str(failed), refused

    async def _some_up(self) -> None:
        """Wait until some server can be asked."""
        try:
            async with asyncio.timeout(self._patience):
                while not any(server.up for server in self.servers):
                    if all(server.refused for server in self.servers):
                        raise SyncFailed(f"no server can be used: {self._troubles()}")
                    if not self._waiting and all(server.trouble != "not asked yet" for server in self.servers):
                        self._waiting = True
                        log.warning("no server is up, waiting for %g s at most: %s", self._patience, self._troubles())
                    await asyncio.sleep(0.1)
                self._waiting = False
        except TimeoutError:
            raise NoServer(f"no server was up for {self._patience:g} s: {self._troubles()}") from None

    def _troubles(self) -> str:
        return "; ".join(f"{server.url} {server.trouble}" for server in self.servers)


def _connections() -> int:
    """Requests at once: each has a connection, and a process may hold only so many files open."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**16 if files == resource.RLIM_INFINITY else max(files // 2, 1)


def _shared(folder: Path | None) -> Path | None:
    """The folder as servers must know it, wherever they were started."""
    if folder is None:
        return None
    folder = folder.expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{folder}, the folder for adapters, can't be made: {error.strerror}") from error
    return folder
