"""Mistakes in how data are named or read, with a remedy for YAML and one for a command line."""

from __future__ import annotations

from serving.errors import UserError

__all__ = ["ReadingMistake"]


class ReadingMistake(UserError):  # noqa: N818  (it is told, not handled)
    """Data can't be found or read as they are described.

    Args:
        what: what happened, as in `UserError`.
        expected: what would have been accepted.
        fix: what to do now, where the data are described in a YAML.
        option_fix: the same where they are described by a command's options.
    """

    def __init__(self, what: str, *, expected: str, fix: str, option_fix: str = "") -> None:
        super().__init__(what, expected=expected, fix=fix)
        self.option_fix = option_fix or fix

    def for_options(self) -> UserError:
        """Tells the same to somebody who gave options."""
        return UserError(self.what, expected=self.expected, fix=self.option_fix)
