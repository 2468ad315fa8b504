"""A pipeline.yaml in words, drafted from what a table holds."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass

from components.tables.column_facts import ColumnFacts
from components.tables.csv_table import CsvFormat
from pipeline.new_project import column_guess, label_guess
from pipeline.new_project.column_guess import ColumnGuess
from pipeline.new_project.label_guess import LabelGuess
from pipeline.new_project.table_guess import GuessedTable
from pipeline.new_project.yaml_text import scalar
from serving.errors import UserError

__all__ = ["Draft", "draft"]


_FEW_ROWS = 50


@dataclass(frozen=True)
class Draft:
    """A configuration guessed from a table.

    Attributes:
        name: the pipeline's name.
        text: the YAML.
        task: what is predicted, in words.
        features: number of columns used as features.
        left_out: columns that are not used, with the reason.
        cautions: what to know about the label and about columns that are used.
    """

    name: str
    text: str
    task: str
    features: int
    left_out: dict[str, str]
    cautions: tuple[str, ...]


def draft(table: GuessedTable, label: str, name: str, path: str) -> Draft:
    """Words a configuration for a table.

    Args:
        table: what it holds, and how it was read.
        label: the column to predict.
        name: the pipeline's name.
        path: the data's path as the YAML will have it.

    Raises:
        UserError: the label is absent, constant, empty, or text of too many values; or no other
            column can be a feature.
    """
    target = label_guess.guess(table, label)
    guesses = {
        column.name: column_guess.guess(column)
        for column in table.facts.columns
        if column.name != label
    }
    used = {column: guess for column, guess in guesses.items() if guess.feature}
    left_out = {column: guess.remark for column, guess in guesses.items() if not guess.feature}
    if not used:
        why = "".join(f"; {column}: {reason}" for column, reason in left_out.items())
        raise UserError(
            f"{table.files[0].name}: no column but the label {label!r} can be a feature{why}.",
            expected="at least one further column with different values",
            fix="bring data with more columns, or write pipeline.yaml by hand",
        )
    lines = [
        f"# {table.facts.rows:,} rows, {len(table.facts.columns)} columns. The kinds below are "
        "guessed from",
        "# the data: read them once, and drop columns that are only known after the label is.",
        f"name: {name}",
        "",
        *_data_lines(path, table, used),
        "",
        *(f"# {caution}" for caution in target.cautions),
        f"label: {{{target.text}}}",
        f"task: {target.task}",
        "",
        *_feature_lines(used, left_out),
        "",
        *_training_lines(target, table.facts.rows),
    ]
    cautions = [f"{column}: {guess.caution}" for column, guess in used.items() if guess.caution]
    if table.facts.rows < _FEW_ROWS:
        cautions.append(f"only {table.facts.rows} rows: too few to learn from and to judge by")
    return Draft(
        name,
        "\n".join(lines),
        f"{target.task}: {target.meaning}",
        len(used),
        left_out,
        (*target.cautions, *cautions),
    )


def _data_lines(path: str, table: GuessedTable, used: Container[str]) -> list[str]:
    table_format = table.table_format
    lines = ["data:", f"  path: {scalar(path)}"]
    if isinstance(table_format, CsvFormat):
        if table_format.delimiter != ",":
            lines.append(f"  delimiter: {json.dumps(table_format.delimiter)}")
        if table_format.missing_values != ("",):
            lines.append(f"  missing_values: {json.dumps(table_format.missing_values)}")
        if table_format.column_names is not None:
            names = ", ".join(map(scalar, table_format.column_names))
            lines.append(f"  column_names: [{names}]")
    else:
        lines.append("  format: parquet")
    lines += _type_lines([each for each in table.facts.columns if each.name in used])
    return [*lines, "  splits: {train: 4, eval: 1}"]


def _type_lines(columns: Sequence[ColumnFacts]) -> list[str]:
    """Keeps digits that name something the text they are, and says why."""
    padded = [each.name for each in columns if column_guess.are_codes(each)]
    large = [each.name for each in columns if column_guess.are_large_codes(each)]
    lines = []
    if padded:
        lines.append("  # digits with leading zeros are codes, not amounts")
    if large:
        lines.append(
            "  # whole numbers beyond 2^53 are codes too: as numbers they would be rounded"
        )
    if padded or large:
        types = ", ".join(f"{scalar(name)}: string" for name in (*padded, *large))
        lines.append(f"  types: {{{types}}}")
    return lines


def _feature_lines(used: dict[str, ColumnGuess], left_out: dict[str, str]) -> list[str]:
    lines = ["features:"]
    for guess in used.values():
        caution = f"; {guess.caution}" if guess.caution else ""
        lines.append(f"  - {{{guess.feature}}}  # {guess.remark}{caution}")
    if left_out:
        lines.append("  # not used:")
        lines += [f"  # - {scalar(column)}: {reason}" for column, reason in left_out.items()]
    return lines


def _training_lines(target: LabelGuess, rows: int) -> list[str]:
    return [
        "model:",
        "  kind: wide_and_deep  # or linear, dnn",
        "  hidden_units: [64, 32]",
        "",
        "training:",
        f"  batch_size: {_batch_size(rows)}",
        "  epochs: 10",
        "  early_stopping: {patience: 3}",
        *(["  # class_weight: balanced  # weighs rare classes as much as common ones"])
        * (target.rare and target.task != "regression"),
        "",
        "# What a model must reach before it is pushed; without thresholds every model is.",
        "# evaluation:",
        "#   thresholds:",
        f"#     {target.threshold}",
        "",
    ]


def _batch_size(rows: int) -> int:
    """A power of two that leaves some dozens of steps in each pass over the rows."""
    return max(8, min(256, 1 << (max(1, rows // 40)).bit_length() - 1))
