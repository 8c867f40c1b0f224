"""The policy update without wasted work: TRL's loss, over rows that matter, laid out so that little is forwarded twice.

Always true here: the loss is TRL's own `_compute_loss`, called once a micro-batch; what changes is which rows it sees (those
whose gradient can differ from zero) and how their log-probs are computed (by chunks of like lengths, a prompt once for its
group). The parameter step is that of stock TRL; `techniques` says which of these apply to a run and why the others do not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import torch
from trl.models.utils import _ForwardRedirection

from .correction import Correction
from .layout import Chunk, Limits, live_rows, plan
from .packed import packed_logps
from .prefix import Head, full_logits_head, fused_head, shared_prefix_logps
from .sharing import gradient_gap, why_not

ROW_MEANS = ("grpo", "sapo", "luspo", "dr_grpo")
"""Losses that divide by the number of rows of a micro-batch."""
log = logging.getLogger(__name__)


def techniques(
    args: Any, *, checkpointing: bool, aux_loss: bool = False, images: bool = False, packed: bool = False
) -> dict[str, str]:
    """technique -> "" where it applies, otherwise why it does not. Pure: reads TRL's configuration alone.

    Args:
        packed: whether prompts are shared by packing, which needs no cache.
    """
    bonus = "an entropy bonus moves every row" if args.entropy_coef or args.use_adaptive_entropy else ""
    quantile = (
        "the entropy threshold is taken over every row (top_entropy_quantile)" if args.top_entropy_quantile < 1 else ""
    )
    prune = (
        ("KL to the reference moves every row (beta above 0)" if args.beta else "")
        or bonus
        or quantile
        or ("the router loss is taken over every row" if aux_loss else "")
    )
    share = (
        "gradient checkpointing drops the cache of the prompt" if checkpointing and not packed
        else "the router loss counts every token" if aux_loss
        else "images take the stock path" if images else ""
    )  # fmt: skip
    trim = "the router loss counts every token" if aux_loss else "images take the stock path" if images else ""
    balance = (
        bonus or quantile or ("bnpo divides by the tokens of each micro-batch" if args.loss_type == "bnpo" else trim)
    )
    return {"prune": prune, "trim": trim, "shared prefix": share, "balance": balance}


class LeanUpdate(Correction):
    """Mixed in before `GRPOTrainer`."""

    args: Any
    model: Any
    accelerator: Any
    temperature: float
    sharded: bool
    loss_type: str
    limits: Limits = Limits()
    forwarded: int = 0
    """Tokens that went through the model in training so far, padding counted, on this rank."""
    unshared = ""
    """Why prompts are not shared, where the first try showed that they can't be."""
    pack_on_cpu = False
    """For tests: a dense mask over packed rows is slow."""
    also_read: Sequence[torch.Tensor] = ()
    """What `_read` added in the last forward, over the whole batch."""
    _checked = False
    _in_loss: dict[str, Any] | None = None
    """The micro-batch whose loss is being computed."""

    def techniques(self) -> dict[str, str]:
        """See the function of this name; for this run."""
        return techniques(
            self.args,
            checkpointing=bool(self.args.gradient_checkpointing),
            aux_loss=getattr(self, "aux_loss_enabled", False),
            packed=self.packed,
        )

    @property
    def packed(self) -> bool:
        """Whether prompts are shared by packing, for FlexAttention; by the model's cache elsewhere."""
        return self.pack_on_cpu or self.accelerator.device.type == "cuda"

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss over the rows that can move the policy, weighed so that it equals that over all of them."""
        rows = inputs["advantages"].size(0)
        if self.techniques()["prune"] or inputs["advantages"].dim() != 1 or not torch.is_grad_enabled():
            return self._stock_loss(model, trimmed(inputs))
        live = live_of(inputs)
        if (most := self._most(len(live))) > len(live):
            live = live_of(inputs, most)
        kept = trimmed(selected(inputs, live, rows))
        loss = self._stock_loss(model, kept)
        if self.loss_type in ROW_MEANS:
            loss = loss * (len(live) / rows)
        elif self.loss_type == "bnpo":
            loss = loss * (_tokens(kept) / _tokens(inputs))
        return loss

    def _most(self, rows: int) -> int:
        """The largest `rows` of any rank: TRL gathers a figure a row, so that every rank needs as many."""
        if self.accelerator.num_processes == 1:
            return rows
        return int(self.accelerator.gather(torch.tensor([rows], device=self.accelerator.device)).max())

    def _stock_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self._in_loss = inputs
        try:
            loss: torch.Tensor = super()._compute_loss(model, inputs)  # type: ignore[misc]
        finally:
            self._in_loss = None
        return loss

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> Any:
        """Log-probs and entropies [B, C] of the last `logits_to_keep` tokens, forwarded by chunks."""
        images = any(kwargs.get(name) is not None for name in ("pixel_values", "image_grid_thw", "token_type_ids"))
        applies = techniques(
            self.args,
            checkpointing=self._checkpointing(model),
            aux_loss=bool(kwargs.get("compute_aux_loss")),
            images=images,
            packed=self.packed,
        )
        if applies["trim"]:
            found = super()._get_per_token_logps_and_entropies(  # type: ignore[misc]
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
            if self._in_loss is not None:
                self.correct(self._in_loss, found[0])
            return found
        batch = Padded(input_ids, attention_mask, logits_to_keep)
        chunks = self._plan(batch, share=not applies["shared prefix"])
        if not self._checked and any(chunk.shared for chunk in chunks):
            self._check_sharing(model, batch, chunks)
            return self._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        logps, entropies, *self.also_read = self._through(model, lambda inner: self._chunked(inner, batch, chunks))
        if self._in_loss is not None:  # TRL reads the ratio once it has the log-probs
            self.correct(self._in_loss, logps)
        return logps, entropies if kwargs.get("compute_entropy") else None, None

    def _plan(self, batch: Padded, share: bool) -> list[Chunk]:
        limits = self.limits if share else Limits(self.limits.tokens, share=False)
        if self.sharded:  # every forward is a collective call: each rank makes one
            limits = Limits(sys.maxsize, share=False)
        return plan(batch.prompt_lengths, batch.completion_lengths, batch.groups, limits)

    def _checkpointing(self, model: Any) -> bool:
        inner = self.accelerator.unwrap_model(model)
        return bool(getattr(inner, "is_gradient_checkpointing", False)) and model.training

    def _through(self, model: Any, compute: Any) -> Any:
        """Run `compute(unwrapped model)` inside one call of the wrapped model: what DDP and FSDP need of several forwards."""
        inner = self.accelerator.unwrap_model(model)
        with self.accelerator.autocast():
            if inner is model:
                return compute(model)
            return _ForwardRedirection()(model, inner, lambda: compute(inner))

    def _chunked(self, model: Any, batch: Padded, chunks: list[Chunk]) -> tuple[torch.Tensor, ...]:
        parts = []
        for chunk in chunks:
            parts.append(self._read(model, batch, chunk))
            self.forwarded += chunk.tokens
        return in_order(parts, chunks, batch.keep)

    def _read(self, model: Any, batch: Padded, chunk: Chunk) -> tuple[torch.Tensor, ...]:
        """What is read off a chunk's forward: log-probs and entropies [rows, C], and what a subclass adds."""
        return self._shared(model, batch, chunk.rows) if chunk.shared else self._plain(model, batch, chunk.rows)

    def _head(self, device: torch.device) -> Any:
        return full_logits_head(self.temperature) if device.type == "cpu" else fused_head

    def _plain(
        self, model: Any, batch: Padded, rows: tuple[int, ...], head: Head | None = None
    ) -> tuple[torch.Tensor, ...]:
        P, C = max(batch.prompt_lengths[r] for r in rows), max(1, *(batch.completion_lengths[r] for r in rows))
        ids, mask = batch.cut(rows, P, C)
        labels = ids.masked_fill(mask == 0, -100)
        labels[:, :-C] = -100
        inputs = {
            "input_ids": ids, "attention_mask": mask, "use_cache": False, "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        }  # fmt: skip
        if head is not None or ids.device.type == "cpu":
            return (head or full_logits_head(self.temperature))(model, inputs, labels[:, -C - 1 :])
        logps, entropies = fused_head(model, inputs, labels)
        return logps[:, -C:], entropies[:, -C:]

    def _shared(
        self, model: Any, batch: Padded, rows: tuple[int, ...], head: Head | None = None
    ) -> tuple[torch.Tensor, ...]:
        firsts = list(dict.fromkeys(batch.first_of[r] for r in rows))
        P, C = max(batch.prompt_lengths[r] for r in rows), max(1, *(batch.completion_lengths[r] for r in rows))
        prompts, prompt_mask = (part[:, :P] for part in batch.cut(tuple(firsts), P, 1))
        ids, mask = (part[:, P:] for part in batch.cut(rows, P, C))
        of = torch.tensor([firsts.index(batch.first_of[r]) for r in rows], device=ids.device)
        if self.packed and head is None:
            return packed_logps(model, prompts, prompt_mask, of, ids, mask, self.temperature)
        return shared_prefix_logps(model, prompts, prompt_mask, of, ids, mask, head or self._head(ids.device))

    def _check_sharing(self, model: Any, batch: Padded, chunks: list[Chunk]) -> None:
        """Score one group both ways; where they differ by more than rounding, prompts are not shared in this run."""
        self._checked = True
        chunk = next(chunk for chunk in chunks if chunk.shared)
        rows = tuple(row for row in chunk.rows if batch.first_of[row] == batch.first_of[chunk.rows[0]])
        ways = self._shared, self._plain
        one, other = ((lambda way=way: self._through(model, lambda inner: way(inner, batch, rows)[0])) for way in ways)
        width = max(1, *(batch.completion_lengths[row] for row in rows))
        mask = batch.mask[list(rows), -batch.keep :][:, :width]
        half = torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else None
        dtype = half or next(model.parameters()).dtype
        gradients = (lambda: self._gradient_gap(model, batch, rows[:2])) if self.packed else None
        self.unshared = why_not(one, other, mask, dtype, gradients)
        if self.unshared:
            self.limits = Limits(self.limits.tokens, self.limits.ratio, share=False)
            log.warning("prompts are not shared in this run: %s", self.unshared)

    def _gradient_gap(self, model: Any, batch: Padded, rows: tuple[int, ...]) -> float:
        """How far the gradients of a few rows of a group are apart, shared and not, on this rank alone; see `gradient_gap`."""
        inner = self.accelerator.unwrap_model(model)

        def loss(way: Any, rows: tuple[int, ...]) -> torch.Tensor:
            with self.accelerator.autocast():
                logps = way(inner, batch, rows)[0]
            return (logps * batch.mask[list(rows), -batch.keep :][:, : logps.size(1)]).sum()

        plain = (loss(self._plain, (row,)) for row in rows)  # one by one: in memory's favour
        return gradient_gap(
            [p for p in inner.parameters() if p.requires_grad], (loss(self._shared, each) for each in (rows,)), plain
        )


class Padded:
    """A padded batch [B, P + C], and the lengths and groups that a plan needs of it."""

    def __init__(self, ids: torch.Tensor, mask: torch.Tensor, keep: int) -> None:
        self.ids, self.mask, self.keep = ids, mask, keep
        self.prompt_width = ids.size(1) - keep
        self.prompt_lengths: list[int] = mask[:, : self.prompt_width].sum(1).tolist()
        # Up to the last token that is attended: what a tool said lies between those of the policy.
        places = torch.arange(1, keep + 1, device=ids.device)
        self.completion_lengths: list[int] = (mask[:, self.prompt_width :] * places).amax(1).tolist()
        prompts = ids[:, : self.prompt_width]
        same = (prompts[1:] == prompts[:-1]).all(1) & (
            mask[1:, : self.prompt_width] == mask[:-1, : self.prompt_width]
        ).all(1)
        self.groups: list[int] = [0, *torch.cumsum(~same, 0).tolist()]
        firsts: dict[int, int] = {}
        self.first_of = [firsts.setdefault(group, row) for row, group in enumerate(self.groups)]

    def cut(self, rows: tuple[int, ...], P: int, C: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and mask [rows, P + C] without the padding that all of the rows share."""
        index = torch.tensor(rows, device=self.ids.device)
        start = self.prompt_width - P
        return self.ids[index, start : self.prompt_width + C], self.mask[index, start : self.prompt_width + C]


def in_order(parts: Sequence[tuple[torch.Tensor, ...]], chunks: Sequence[Chunk], keep: int) -> tuple[torch.Tensor, ...]:
    """What was read of each chunk, [rows, C] or one column wider, as [B, keep] (or one column wider) in the batch's order."""
    order = torch.tensor([row for chunk in chunks for row in chunk.rows], device=parts[0][0].device)
    back = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    widest = [max(part[i].size(1) - part[0].size(1) for part in parts) + keep for i in range(len(parts[0]))]
    return tuple(torch.cat([_padded(part[i], width) for part in parts])[back] for i, width in enumerate(widest))


def live_of(inputs: dict[str, Any], least: int = 1) -> list[int]:
    """The rows of a batch that can move the policy; see `live_rows`."""
    return live_rows(inputs["advantages"].tolist(), inputs["completion_mask"].sum(1).tolist(), least)


def selected(inputs: dict[str, Any], rows: list[int], of: int) -> dict[str, Any]:
    """The given rows of every tensor that has a row of its own for each of the batch's `of` rows."""
    if len(rows) == of:
        return inputs
    index = torch.tensor(rows, device=inputs["advantages"].device)
    return {
        key: value[index] if torch.is_tensor(value) and value.dim() and value.size(0) == of else value
        for key, value in inputs.items()
    }


def trimmed(inputs: dict[str, Any]) -> dict[str, Any]:
    """Without the columns of padding that all rows have: left of the prompts, right of the completions."""
    if not torch.is_tensor(inputs.get("completion_mask")) or "pixel_values" in inputs:
        return inputs
    prompt, completion = inputs["prompt_mask"], inputs["completion_mask"]
    P = int(prompt.sum(1).max())
    C = max(1, int((completion * torch.arange(1, completion.size(1) + 1, device=completion.device)).max()))
    result = dict(inputs)
    for key in ("prompt_ids", "prompt_mask"):
        result[key] = inputs[key][:, inputs[key].size(1) - P :]
    for key, value in inputs.items():
        per_token = torch.is_tensor(value) and value.dim() == 2 and value.size(1) == completion.size(1)
        if per_token and key not in ("prompt_ids", "prompt_mask"):
            result[key] = value[:, :C]
    return result


def _tokens(inputs: dict[str, Any]) -> torch.Tensor:
    mask = inputs["completion_mask"] * inputs["tool_mask"] if "tool_mask" in inputs else inputs["completion_mask"]
    return mask.sum().clamp(min=1.0)


def _padded(values: torch.Tensor, width: int) -> torch.Tensor:
    return torch.nn.functional.pad(values, (0, width - values.size(1)))
