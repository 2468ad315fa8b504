"""What all sections of the YAML have in common, and how one refuses a value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

__all__ = ["Section", "refuse"]


class Section(BaseModel):
    """One section of the YAML: immutable, and no key goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def refuse(what: str, *, expected: str, fix: str, key: str = "") -> PydanticCustomError:
    """Makes a validation error whose context carries the three clauses apart.

    `key` is the dotted key at fault, below the section that refuses.
    """
    context = {"what": what, "expected": expected, "fix": fix, "key": key}
    return PydanticCustomError("refused", "{what}", context)
