"""What all sections of the YAML have in common: immutable, strict, and clear when refused."""

from typing import Annotated, NoReturn

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

__all__ = ["ColumnName", "Section", "refuse"]

ColumnName = Annotated[str, Field(min_length=1, max_length=512)]
"""A raw column, exactly as in the data: spaces and any UTF-8 are fine."""


class Section(BaseModel):
    """One section of the YAML: immutable, and no key goes unnoticed."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def refuse(what: str, *, expected: str, fix: str, key: str = "") -> NoReturn:
    """Raises a validation error whose context carries the three clauses apart.

    `key` is the dotted key at fault (`features.2.name`), below the section that refuses.
    """
    raise PydanticCustomError(
        "problem",
        "{what}; expected {expected}; fix: {fix}",
        {"what": what, "expected": expected, "fix": fix, "key": key},
    )
