"""Mistakes in how rows are to be divided, which know the key they stand at."""

from __future__ import annotations

from serving.errors import UserError

__all__ = ["SplitsMistake"]


class SplitsMistake(UserError):  # noqa: N818  (it is told, not handled)
    """Settings of a split that make no sense, or don't fit the data.

    Args:
        held: what is wrong.
        expected: what would have been accepted.
        fix: what to do now.
        key: where below `data.splits` it stands.
    """

    def __init__(self, held: str, *, expected: str, fix: str, key: tuple[str, ...] = ()) -> None:
        super().__init__(f"{'.'.join(('data.splits', *key))}: {held}", expected=expected, fix=fix)
        self.held = held
        self.key = key

    def __reduce__(self) -> tuple[object, ...]:
        return UserError(self.what, expected=self.expected, fix=self.fix).__reduce__()

    def at(self, place: str) -> UserError:
        """Tells the same of a file and line."""
        return UserError(f"{place}: {self.held}", expected=self.expected, fix=self.fix)
