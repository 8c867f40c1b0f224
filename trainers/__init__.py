"""trainers"""

import logging

# TRL imports vLLM wherever it is installed, which then says on stderr that a machine without a GPU has no Triton.
logging.getLogger("vllm.triton_utils.importing").setLevel(logging.ERROR)
