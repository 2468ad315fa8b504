"""The model that a command is about when an output folder is named instead of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from serving.errors import UserError

__all__ = ["Output", "refuse_both", "require_push"]

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Where to look for the last push if no model is named. [outputs]",
        show_default=False,
    ),
]


def require_push(output: Path, fix: str) -> Path:
    """Finds the folder of versions in which the newest push below an output folder lies.

    Args:
        output: one run's output folder, or one that holds several.
        fix: how the command is told of a model otherwise.

    Raises:
        UserError: nothing was pushed there.
    """
    from pipeline.history.last_push import last_push

    pushed = last_push(output)
    if pushed is None:
        raise UserError(
            f"there is no pushed model under {output}/",
            expected=f"a folder {output}/*/serving/MODEL with numbered versions",
            fix=fix,
        )
    return pushed


def refuse_both(output: Path | None, option: str, value: str) -> None:
    """Lets a model be named in one way only.

    Raises:
        UserError: it is named in two.
    """
    if output is not None and value:
        raise UserError(
            f"both --output {output} and {option} {value} are given",
            expected="one of them: each names the model",
            fix=f"leave out --output to take {value}, or {option} to take the last push below "
            f"{output}",
        )
