"""The groups of `kubetfx` commands."""

from pathlib import Path

__all__ = ["DEFAULT_CONFIG"]

DEFAULT_CONFIG = Path("examples/chicago_taxi/pipeline.yaml")
"""What a command is about when it is not told."""
