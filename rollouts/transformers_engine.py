"""The engine that shares its weights with the trainer: plain transformers forwards with a key-value cache.

Always true here: prompts are padded on the left and each distinct prompt is prefilled once; rows that have finished
leave the batch; a token is drawn by inverting the cumulative distribution at the row's own uniform number, so the same
(seed, step, row) gives the same text however the batch is made up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from .engine import Completion, Request, Sampling, uniforms
from .record import StopReason


class TransformersEngine:
    """Samples from a (PEFT) causal language model in this process.

    Args:
        model: what is called for a forward; under FSDP the wrapped model, so that its shards are gathered.
        pad_id: token id that fills prompts up on the left.
        eos_ids: token ids that end a completion.
        max_rows: rows decoded at once; more are done one lot after another.
        any_rank: under sharding, whether any rank still has rows to decode (a collective call): every rank then makes
            the same number of forwards. None where each process holds a whole model.
    """

    def __init__(
        self,
        model: Any,
        pad_id: int,
        eos_ids: Sequence[int],
        max_rows: int = 1024,
        any_rank: Callable[[bool], bool] | None = None,
    ) -> None:
        self.model = model
        self.pad_id = pad_id
        self.max_rows = max_rows
        self.policy_version = 0
        self._eos = sorted(set(eos_ids))
        self._any_rank = any_rank or bool

    @property
    def device(self) -> torch.device:
        """Where the model's weights are."""
        return next(self.model.parameters()).device

    def sync(self, adapter: Any, version: int) -> None:
        """The weights are the trainer's own tensors: only the version moves.

        Raises:
            RuntimeError: `adapter` is not the model that this engine samples from.
        """
        if adapter is not None and adapter is not self.model:
            raise RuntimeError("the transformers engine shares the trainer's model; it can't take over another one")
        self.policy_version = version

    def close(self) -> None:
        """Nothing to free: the model is the trainer's."""

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        """See `Engine.generate`; log-probs are those of the (tempered, cut) distribution that was sampled from."""
        with _evaluating(self.model), torch.no_grad():
            for start in range(0, len(requests), self.max_rows):
                for i, completion in self._lot(requests[start : start + self.max_rows], sampling):
                    yield start + i, completion

    def _lot(self, requests: Sequence[Request], sampling: Sampling) -> Iterator[tuple[int, Completion]]:
        began = time.perf_counter()
        device = self.device
        eos = torch.tensor(self._eos, device=device)
        draws = np.stack([uniforms(request.stream, sampling.max_tokens) for request in requests])
        draws_BC = torch.from_numpy(draws).to(device=device, dtype=torch.float32)
        cache, logits_BV, mask_BT, first_of = self._prefill(requests)
        first_token_s = time.perf_counter() - began
        tokens = torch.full((len(requests), sampling.max_tokens), self.pad_id, dtype=torch.long)
        logprobs = torch.zeros(len(requests), sampling.max_tokens)
        active = torch.arange(len(requests), device=device)  # row of the lot behind each row of the batch
        step = 0
        while True:
            token_B, logprob_B = sample(logits_BV, draws_BC[active, step], sampling)
            tokens[active.cpu(), step] = token_B.cpu()
            logprobs[active.cpu(), step] = logprob_B.float().cpu()
            ended_B = torch.isin(token_B, eos)
            last = step + 1 == sampling.max_tokens
            now = time.perf_counter() - began
            for b in (torch.arange(len(active)) if last else ended_B.nonzero().flatten().cpu()).tolist():
                row = int(active[b])
                yield (
                    row,
                    Completion(
                        tokens[row, : step + 1].tolist(),
                        logprobs[row, : step + 1].tolist(),
                        StopReason.EOS if ended_B[b] else StopReason.LENGTH,
                        tokens_cached=0 if first_of[row] == row else len(requests[row].prompt_ids),
                        first_token_s=first_token_s,
                        latency_s=now,
                    ),
                )
            keep = (~ended_B).nonzero().flatten()
            done = last or len(keep) == 0
            if not self._any_rank(not done):
                return
            if done:  # other ranks still decode: keep the collective calls of a sharded model in step
                self._idle(device)
                while self._any_rank(False):
                    self._idle(device)
                return
            if len(keep) < len(active):
                active, token_B, mask_BT = active[keep], token_B[keep], mask_BT[keep]
                cache.batch_select_indices(keep)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(active), 1)], dim=1)
            logits_BV = self.model(
                input_ids=token_B[:, None],
                attention_mask=mask_BT,
                position_ids=mask_BT.sum(1, keepdim=True) - 1,
                past_key_values=cache,
                use_cache=True,
            ).logits[:, -1]
            step += 1

    def _prefill(self, requests: Sequence[Request]) -> tuple[DynamicCache, torch.Tensor, torch.Tensor, list[int]]:
        """Forward each distinct prompt once; the cache, next-token logits and mask come back one row a request."""
        distinct: dict[tuple[int, ...], int] = {}
        index = [distinct.setdefault(tuple(request.prompt_ids), len(distinct)) for request in requests]
        first: dict[int, int] = {}
        first_of = [first.setdefault(u, row) for row, u in enumerate(index)]
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
        rows = torch.tensor(index, device=self.device)
        cache.batch_select_indices(rows)
        return cache, logits_UV[rows], mask_UP[rows], first_of

    def _idle(self, device: torch.device) -> None:
        self.model(input_ids=torch.full((1, 1), self.pad_id, device=device))


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
