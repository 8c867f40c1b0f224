"""Model-written Python, run against tests in processes that hold nothing worth stealing. See docs/sandbox.md."""

from .box import Sandbox, SandboxFailure, Verdict, default, warm

__all__ = ["Sandbox", "SandboxFailure", "Verdict", "default", "warm"]
