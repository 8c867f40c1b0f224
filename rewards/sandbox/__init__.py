"""Model-written Python, run against tests in processes that hold nothing worth stealing. See docs/sandbox.md."""

from .box import Output, Reply, Sandbox, Verdict
from .client import SandboxFailure
from .shared import default, warm

__all__ = ["Output", "Reply", "Sandbox", "SandboxFailure", "Verdict", "default", "warm"]
