"""The jobs: tasks, splits, tools, right answers. Nothing in here imports torch."""

from .core import SPLITS, Environment, Generated, Limits, Row, Rows

__all__ = ["SPLITS", "Environment", "Generated", "Limits", "Row", "Rows"]
