"""Adapters on their way out: the model card, the scan for what must not leave, publishing."""

from .publish import publish

__all__ = ["publish"]
