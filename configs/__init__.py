"""Configuration: YAML files, one a run, and the code that reads and checks them. Imports nothing else of the package."""

from .errors import BadInput, Stopped
from .read import find_job, load_attribute, read_yaml

__all__ = ["BadInput", "Stopped", "find_job", "load_attribute", "read_yaml"]
