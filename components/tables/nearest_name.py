"""The name a user probably meant."""

import difflib
from collections.abc import Collection, Iterable

from serving.errors import UserError

__all__ = ["did_you_mean", "no_such_column"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Turns a misspelt name into a question about the nearest known ones; else into ""."""
    by_fold = {each.strip().casefold(): each for each in known}
    near = difflib.get_close_matches(name.strip().casefold(), by_fold, n=3, cutoff=0.6)
    if not near:
        return ""
    return f"did you mean {' or '.join(repr(by_fold[each]) for each in near)}?"


def no_such_column(
    name: str, known: Collection[str], place: str = "", table: str = "the data"
) -> UserError:
    """Words the error about a column that is not there, with the nearest names.

    Args:
        name: the column.
        known: the columns there are.
        place: who asks for it: "label", "pipeline.yaml line 3, key 'label'".
        table: where it is not.
    """
    return UserError(
        f"{place}{': ' if place else ''}there is no column {name!r} in {table}.",
        expected=f"one of {', '.join(known)}",
        fix=did_you_mean(name, known) or "check the spelling, or add the column",
    )
