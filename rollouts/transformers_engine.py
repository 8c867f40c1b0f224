"""The engine that shares its weights with the trainer: plain transformers forwards with a key-value cache.

Always true here: prompts are padded on the left and each distinct prompt is prefilled once; rows that have finished
leave the batch and others join it; a token is drawn by inverting the cumulative distribution at the row's own uniform
number, so the same (seed, step, row) gives the same text however the batch is made up.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from .engine import Completion, Request, Sampling, SyncFailed, uniforms
from .record import StopReason
from .stepping import Stepping


@dataclass
class _Batch:
    """The rows being decoded, one of each of its lists and tensors a row."""

    numbers: list[int]
    cache: Any  # a DynamicCache, whose layers' keys and values are there
    mask_BT: torch.Tensor
    token_B: torch.Tensor


@dataclass
class _Row:
    """A request under way: its random numbers, and what it has so far."""

    request: Request
    sampling: Sampling
    draws: np.ndarray
    began: float
    tokens_cached: int = 0
    first_token_s: float = 0.0
    cancelled: bool = False
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class TransformersEngine(Stepping):
    """Samples from a (PEFT) causal language model in this process.

    Args:
        model: what is called for a forward; under FSDP the wrapped model, so that its shards are gathered.
        pad_id: token id that fills prompts up on the left.
        eos_ids: token ids that end a completion.
        max_rows: rows decoded at once; others wait until there is room.
        any_rank: see `Stepping`; every rank then makes the same number of forwards.
    """

    def __init__(
        self,
        model: Any,
        pad_id: int,
        eos_ids: Sequence[int],
        max_rows: int = 1024,
        any_rank: Callable[[bool], bool] | None = None,
    ) -> None:
        super().__init__(any_rank)
        self.model = model
        self.pad_id = pad_id
        self.max_rows = max_rows
        self._eos = sorted(set(eos_ids))
        self._queue: deque[int] = deque()
        self._rows: dict[int, _Row] = {}
        self._batch: _Batch | None = None

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    def sync(self, model: Any, version: int) -> None:
        """The weights are the trainer's own tensors: only the version moves.

        Raises:
            SyncFailed: `model` is not the one that this engine samples from.
        """
        if model is not None and model is not self.model:
            raise SyncFailed("the transformers engine shares the trainer's model; it can't take over another one")
        self.policy_version = version

    def close(self) -> None:
        """Nothing to free: the model is the trainer's."""

    def submit(self, number: int, request: Request, sampling: Sampling) -> None:
        """See `Stepping.submit`."""
        draws = uniforms(request.stream, sampling.max_tokens, request.turn)
        self._rows[number] = _Row(request, sampling, draws, time.perf_counter())
        self._queue.append(number)

    def cancel(self, number: int) -> None:
        """See `Stepping.cancel`; a row that is being decoded leaves with the next token."""
        if number in self._queue:
            self._queue.remove(number)
            del self._rows[number]
        elif number in self._rows:
            self._rows[number].cancelled = True

    def advance(self) -> list[tuple[int, Completion]]:
        """Let waiting rows in as far as there is room, then one token for every row; log-probs are those sampled from."""
        finished: list[tuple[int, Completion]] = []
        anyone = self._any_rank or bool
        with _evaluating(self.model), torch.no_grad():
            room = self.max_rows - (len(self._batch.numbers) if self._batch else 0)
            if self._batch is not None and not _joinable(self._batch.cache):
                room = 0
            coming = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
            if anyone(bool(coming)):
                finished += self._admit(coming) if coming else self._idle()
            if anyone(self._batch is not None):
                finished += self._decode(self._batch) if self._batch is not None else self._idle()
        return finished

    def _admit(self, coming: list[int]) -> list[tuple[int, Completion]]:
        """Forward each distinct prompt once, draw the first tokens, and put the rows beside those being decoded."""
        distinct: dict[tuple[int, ...], int] = {}
        index = [distinct.setdefault(tuple(self._rows[n].request.prompt_ids), len(distinct)) for n in coming]
        width = max(len(prompt) for prompt in distinct)
        ids_UP = torch.tensor([[self.pad_id] * (width - len(p)) + list(p) for p in distinct], device=self.device)
        mask_UP = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in distinct], device=self.device)
        cache = DynamicCache(config=self.model.config) if hasattr(self.model, "config") else DynamicCache()
        logits_UV = self.model(
            input_ids=ids_UP,
            attention_mask=mask_UP,
            position_ids=(mask_UP.cumsum(1) - 1).clamp(min=0),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        of_B = torch.tensor(index, device=self.device)
        cache.batch_select_indices(of_B)
        seen: set[int] = set()
        for number, u in zip(coming, index, strict=True):
            row = self._rows[number]
            row.tokens_cached = len(row.request.prompt_ids) if u in seen else 0
            row.first_token_s = time.perf_counter() - row.began
            seen.add(u)
        batch = _Batch(coming, cache, mask_UP[of_B], of_B)
        finished = self._draw(batch, logits_UV[of_B])
        if batch.numbers:
            self._batch = batch if self._batch is None else _joined(self._batch, batch)
        return finished

    def _decode(self, batch: _Batch) -> list[tuple[int, Completion]]:
        batch.mask_BT = torch.cat([batch.mask_BT, batch.mask_BT.new_ones(len(batch.numbers), 1)], dim=1)
        logits_BV = self.model(
            input_ids=batch.token_B[:, None],
            attention_mask=batch.mask_BT,
            position_ids=batch.mask_BT.sum(1, keepdim=True) - 1,
            past_key_values=batch.cache,
            use_cache=True,
        ).logits[:, -1]
        finished = self._draw(batch, logits_BV)
        if not batch.numbers:
            self._batch = None
        return finished

    def _draw(self, batch: _Batch, logits_BV: torch.Tensor) -> list[tuple[int, Completion]]:
        """One token a row; rows that end by it leave the batch."""
        rows = [self._rows[number] for number in batch.numbers]
        token_B, logprob_B = _sampled(logits_BV, rows)
        tokens, logprobs = token_B.tolist(), logprob_B.float().tolist()
        finished, keep = [], []
        for b, (number, row) in enumerate(zip(batch.numbers, rows, strict=True)):
            row.ids.append(tokens[b])
            row.logprobs.append(logprobs[b])
            ended = tokens[b] in self._eos
            if not ended and not row.cancelled and len(row.ids) < row.sampling.max_tokens:
                keep.append(b)
                continue
            reason = StopReason.EOS if ended else StopReason.LENGTH
            latency = time.perf_counter() - row.began
            finished.append(
                (number, Completion(row.ids, row.logprobs, reason, row.tokens_cached, row.first_token_s, latency))
            )
            del self._rows[number]
        batch.token_B = token_B
        if len(keep) < len(batch.numbers):
            index = torch.tensor(keep, dtype=torch.long, device=token_B.device)
            batch.numbers = [batch.numbers[b] for b in keep]
            batch.token_B, batch.mask_BT = token_B[index], batch.mask_BT[index]
            if keep:
                batch.cache.batch_select_indices(index)
                _trim(batch)
        return finished

    def _idle(self) -> list[tuple[int, Completion]]:
        """A forward for the sake of other ranks, which gather a sharded model's weights with us."""
        self.model(input_ids=torch.full((1, 1), self.pad_id, device=self.device))
        return []


def _joinable(cache: DynamicCache) -> bool:
    """Whether rows can be put beside those of `cache`; layers with a window count what they have dropped, and can't."""
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _trim(batch: _Batch) -> None:
    """Without the columns on the left that no row attends to any more, where they are many."""
    spare = int(batch.mask_BT.amax(0).argmax())
    if spare > batch.mask_BT.size(1) // 4 and _joinable(batch.cache):
        batch.mask_BT = batch.mask_BT[:, spare:]
        for layer in batch.cache.layers:
            layer.keys, layer.values = layer.keys[:, :, spare:], layer.values[:, :, spare:]


def _joined(a: _Batch, b: _Batch) -> _Batch:
    """Two batches as one: the shorter one's keys, values and mask are filled up on the left, where nothing attends."""
    width = max(a.mask_BT.size(1), b.mask_BT.size(1))
    for batch in (a, b):
        missing = width - batch.mask_BT.size(1)
        batch.mask_BT = torch.nn.functional.pad(batch.mask_BT, (missing, 0))
        for layer in batch.cache.layers:
            layer.keys, layer.values = (
                torch.nn.functional.pad(states, (0, 0, missing, 0)) for states in (layer.keys, layer.values)
            )
    for mine, other in zip(a.cache.layers, b.cache.layers, strict=True):
        mine.keys, mine.values = torch.cat([mine.keys, other.keys]), torch.cat([mine.values, other.values])
    return _Batch(a.numbers + b.numbers, a.cache, torch.cat([a.mask_BT, b.mask_BT]), torch.cat([a.token_B, b.token_B]))


def _sampled(logits_BV: torch.Tensor, rows: Sequence[_Row]) -> tuple[torch.Tensor, torch.Tensor]:
    """A token and its log-prob for every row; rows with one way of sampling are drawn together."""
    draw_B = torch.tensor([row.draws[len(row.ids)] for row in rows], dtype=torch.float32, device=logits_BV.device)
    ways: dict[Sampling, list[int]] = {}
    for b, row in enumerate(rows):
        ways.setdefault(replace(row.sampling, max_tokens=0), []).append(b)
    if len(ways) == 1:
        return sample(logits_BV, draw_B, rows[0].sampling)
    token_B, logprob_B = torch.empty_like(draw_B, dtype=torch.long), torch.empty_like(draw_B)
    for sampling, places in ways.items():
        index = torch.tensor(places, device=logits_BV.device)
        token_B[index], logprob_B[index] = sample(logits_BV[index], draw_B[index], sampling)
    return token_B, logprob_B


def sample(logits_BV: torch.Tensor, draw_B: torch.Tensor, sampling: Sampling) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row and its log-prob; `draw_B` are uniform numbers in [0, 1). Greedy where the temperature is 0."""
    logits_BV = logits_BV.float()
    if sampling.temperature == 0:
        logps_BV = logits_BV.log_softmax(-1)
        token_B = logps_BV.argmax(-1)
        return token_B, logps_BV.gather(1, token_B[:, None]).squeeze(1)
    logits_BV = cut(logits_BV / sampling.temperature, sampling)
    logps_BV = logits_BV.log_softmax(-1)
    cumulative_BV = logps_BV.exp().cumsum(-1)
    # Scaled by the row's own total: rounding must not leave a gap at the top that no token fills.
    target_B1 = (draw_B * cumulative_BV[:, -1])[:, None]
    token_B = torch.searchsorted(cumulative_BV, target_B1, right=True).squeeze(1).clamp(max=logits_BV.shape[-1] - 1)
    return token_B, logps_BV.gather(1, token_B[:, None]).squeeze(1)


def cut(logits_BV: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits with what top-k, top-p and min-p leave out at minus infinity; the likeliest token always stays."""
    if sampling.top_k:
        kth = logits_BV.topk(min(sampling.top_k, logits_BV.shape[-1]), dim=-1).values[:, -1:]
        logits_BV = logits_BV.masked_fill(logits_BV < kth, -torch.inf)
    if sampling.min_p:
        probs_BV = logits_BV.softmax(-1)
        logits_BV = logits_BV.masked_fill(probs_BV < sampling.min_p * probs_BV.amax(-1, keepdim=True), -torch.inf)
    if sampling.top_p < 1:
        ordered_BV, order_BV = logits_BV.sort(dim=-1, descending=True)
        probs_BV = ordered_BV.softmax(-1)
        beyond_BV = probs_BV.cumsum(-1) - probs_BV >= sampling.top_p  # mass before the token already reaches top_p
        logits_BV = logits_BV.masked_fill(beyond_BV.scatter(1, order_BV, beyond_BV), -torch.inf)
    return logits_BV


@contextmanager
def _evaluating(model: Any) -> Iterator[None]:
    """Dropout off, and gradient checkpointing with it, which would drop the cache in silence."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
