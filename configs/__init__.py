"""Configuration: YAML files, one a run, and the code that reads and checks them. Imports no other folder."""

from .errors import BadInput, Stopped
from .read import find_job, load_attribute, read_yaml

__all__ = ["BadInput", "Stopped", "find_job", "load_attribute", "read_yaml"]
