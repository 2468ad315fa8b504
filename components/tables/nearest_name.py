"""The name a user probably meant."""

import difflib
from collections.abc import Iterable

__all__ = ["did_you_mean"]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Turns a misspelt name into a question about the nearest known ones; else into ""."""
    by_fold = {each.strip().casefold(): each for each in known}
    near = difflib.get_close_matches(name.strip().casefold(), by_fold, n=3, cutoff=0.6)
    if not near:
        return ""
    return f"did you mean {' or '.join(repr(by_fold[each]) for each in near)}?"
