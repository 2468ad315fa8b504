"""The errors about data that a user is meant to read.

    DataError            the data cannot be learnt from as the problem asks
    └── ExportMismatch   the exported model answers otherwise than the trained one

The trainer stands alone, hence a tree of its own beside the other packages'; the three clauses
and `exit_code` are the same there.
"""

__all__ = ["DataError", "ExportMismatch"]


class DataError(ValueError):
    """The data cannot be learnt from as the problem asks; told in three clauses.

    Args:
        what: what happened, with the column and the value.
        expected: what would have been accepted.
        fix: what to do now.
    """

    exit_code = 2

    def __init__(self, what: str, *, expected: str, fix: str) -> None:
        super().__init__(what, expected, fix)
        self.what = what
        self.expected = expected
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what}\n  expected: {self.expected}\n  fix: {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        # Beam pickles errors, and keyword-only arguments do not survive the default way.
        return _rebuild, (type(self), self.what, self.expected, self.fix)


def _rebuild(cls: type[DataError], what: str, expected: str, fix: str) -> DataError:
    return cls(what, expected=expected, fix=fix)


class ExportMismatch(DataError):  # noqa: N818, a finding like its siblings in serving.errors
    """The model on disk does not answer as the one in memory; nothing may be pushed."""

    exit_code = 1
