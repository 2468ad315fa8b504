"""Every column and split that a configuration names is there: told from a header, in no time.

A misspelt feature would stop the run in the middle. A name under `gates:` that stands for nothing
is worse: what was to be masked is quoted, what was to be judged passes, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from components.gates.anomaly_kinds import AnomalyKind
from components.gates.gate_policy import Allowance, GateRule
from components.tables.expression import Expression
from components.tables.nearest_name import did_you_mean, no_such_column
from pipeline.config import Project
from pipeline.config.data import ColumnSplit, TimeSplit, split_names
from serving.errors import UserError

__all__ = ["Header", "check"]

_SERVING = "serving"
"""What the gate on captured requests calls the one split it looks at."""

Keys = tuple[str | int, ...]


@dataclass(frozen=True)
class Header:
    """The columns of the data.

    Attributes:
        file: where they were read.
        columns: their names.
        elsewhere: reads the columns of the other spans, which a gate may be about as well.
    """

    file: str
    columns: tuple[str, ...]
    elsewhere: Callable[[], Iterable[str]] = field(default=tuple, repr=False)


def check(project: Project, header: Header) -> None:
    """Refuses names that stand for nothing.

    Raises:
        UserError: the first of them, with its line and the nearest names there are.
    """
    for keys, name in _named(project):
        if name not in header.columns:
            raise no_such_column(name, header.columns, project.place(*keys), header.file)
    _check_kept(project, header)
    _check_gates(project, header)


def _named(project: Project) -> Iterator[tuple[Keys, str]]:
    """Where the data, the training, the model and the slices name a column."""
    config = project.config
    data = config.data
    for section, names in (
        ("exclude", data.exclude),
        ("types", data.types),
        ("columns", data.columns or ()),
    ):
        yield from ((("data", section), name) for name in names)
    if isinstance(data.splits, ColumnSplit | TimeSplit):
        yield ("data", "splits", "column"), data.splits.column
    if config.training.weight_column:
        yield ("training", "weight_column"), config.training.weight_column
    if config.label.expression is not None:
        expression = Expression.parse(config.label.expression, project.place("label"))
        yield from ((("label",), name) for name in expression.columns)
    elif config.label.column is not None:
        yield ("label",), config.label.column
    for index, feature in enumerate(config.features):
        yield ("features", index, "name"), feature.name
    for index, slice_ in enumerate(config.evaluation.slices):
        for name in (slice_,) if isinstance(slice_, str) else slice_:
            yield ("evaluation", "slices", index), name


def _check_kept(project: Project, header: Header) -> None:
    """No feature is among the columns that are left out."""
    data = project.config.data
    kept = set(data.columns or header.columns) - set(data.exclude)
    for index, feature in enumerate(project.config.features):
        if feature.name not in kept:
            raise UserError(
                f"{project.place('features', index)}: the feature {feature.name!r} is left out "
                "of the data by data.exclude or data.columns.",
                expected="features among the columns that are taken",
                fix="drop the feature, or take the column",
            )


# ------------------------------------------------------------------------------------- gates


def _check_gates(project: Project, header: Header) -> None:
    known = dict.fromkeys((*header.columns, project.config.label.name))
    for keys, name in _gate_columns(project):
        if name in known:
            continue
        known |= dict.fromkeys(_schema_columns(project))
        known |= dict.fromkeys(header.elsewhere())
        is_own = project.config.preprocessing_fn is not None and keys[2] == "masked_columns"
        if is_own and not did_you_mean(name, known):
            continue  # A vocabulary of one's own may be called anything, and be masked by that.
        if name not in known:
            raise no_such_column(name, tuple(known), project.place(*keys), header.file)
    splits = [*split_names(project.config.data.splits), _SERVING]
    for keys, each in _selections(project):
        if each.split is not None and each.split not in splits:
            raise UserError(
                f"{project.place(*keys, 'split')}: there is no split {each.split!r}.",
                expected=f"one of {', '.join(splits[:-1])}, or {_SERVING} for captured requests",
                fix=did_you_mean(each.split, splits) or "check the spelling, or leave it out",
            )


def _gate_columns(project: Project) -> Iterator[tuple[Keys, str]]:
    """Where the gates name a column that the data should have."""
    gates = project.config.gates
    for index, name in enumerate(gates.data.masked_columns):
        yield ("gates", "data", "masked_columns", index), name
    for keys, each in _selections(project):
        if each.column is not None and not _is_about_absent(project, each):
            yield (*keys, "column"), each.column
    for gate, columns in (("drift", gates.drift.columns), ("skew", gates.skew.columns)):
        yield from ((("gates", gate, "columns", name), name) for name in columns)


def _selections(project: Project) -> Iterator[tuple[Keys, GateRule | Allowance]]:
    data = project.config.gates.data
    yield from ((("gates", "data", "rules", index), each) for index, each in enumerate(data.rules))
    yield from ((("gates", "data", "allow", index), each) for index, each in enumerate(data.allow))


def _is_about_absent(project: Project, selection: GateRule | Allowance) -> bool:
    """Whether it may be about a column that only requests, or only a schema far away, have."""
    is_new = selection.kind is AnomalyKind.NEW_COLUMN or selection.split == _SERVING
    is_far = "://" in (project.config.schema_file or "")
    return is_new or (is_far and selection.kind is AnomalyKind.MISSING_COLUMN)


def _schema_columns(project: Project) -> list[str]:
    """The columns of the curated schema: the data may lack one, and a rule be about that."""
    written = project.config.schema_file
    if written is None or "://" in written:
        return []
    from pipeline.schema import schema_curation

    schema = schema_curation.read(Path(project.path(written)))
    return [str(feature.name) for feature in schema.feature]
