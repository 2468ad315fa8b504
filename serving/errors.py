"""The errors that a user is meant to read.

    UserError            a mistake in what the user gave: exit code 2
    └── GateStop         a gate refused data, model or infrastructure: exit code 3

`serving` is the lowest layer, so the tree lives here and the layers above raise it too.
"""

__all__ = ["GateStop", "UserError"]


class UserError(Exception):
    """A mistake that the user can mend, told in three clauses.

    Args:
        what: what happened, with the value and the place (file, line, column, key).
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
        # Keyword-only arguments do not survive the default pickling, and Beam pickles errors.
        return _rebuild, (type(self), self.what, self.expected, self.fix)


class GateStop(UserError):  # noqa: N818  (a gate that stops is no error of its own)
    """A gate stopped the run on purpose; artifacts made so far are kept."""

    exit_code = 3


def _rebuild(cls: type[UserError], what: str, expected: str, fix: str) -> UserError:
    return cls(what, expected=expected, fix=fix)
