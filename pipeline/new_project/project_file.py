"""Writes the pipeline.yaml of a new project, beside which its code will be."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pipeline.config.reader import CONFIG_FILE
from pipeline.new_project.draft import Draft, draft
from pipeline.new_project.table_guess import read_table
from pipeline.writable_folder import make_writable
from serving.errors import UserError

__all__ = ["write"]


def write(
    data: str,
    label: str,
    folder: Path | None,
    *,
    delimiter: str | None = None,
    column_names: tuple[str, ...] | None = None,
) -> tuple[Path, Draft]:
    """Inspects a table and writes `<folder>/pipeline.yaml` for it.

    Args:
        data: a file, a folder or a pattern.
        label: the column to predict.
        folder: where the project goes; by default a new one named after the data.
        delimiter: between two cells; by default guessed.
        column_names: for a CSV without a header row.

    Raises:
        UserError: the data or the label can't be used, or the file is there already.
    """
    name = _name(data)
    folder = folder or Path(name)
    file = folder / CONFIG_FILE
    if file.exists():
        raise UserError(
            f"{file} exists already.",
            expected="a folder without a pipeline.yaml",
            fix="choose another folder with --folder, or move the file away",
        )
    table = read_table(data, delimiter, column_names)
    made = draft(table, label, name, _reference(data, folder))
    make_writable(folder, "--folder")
    file.write_text(made.text, encoding="utf-8")
    return file, made


def _name(data: str) -> str:
    stem = Path(data.rstrip("/")).name.partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:60].lower()
    return name if name[:1].isalpha() else f"data_{name}".rstrip("_")


def _reference(data: str, folder: Path) -> str:
    """Writes the data's path as seen from the project's folder."""
    if "://" in data:
        return data
    return os.path.relpath(Path(data).expanduser().resolve(), folder.resolve())
