"""What a finding in the data does to a run: severities, tolerances, exceptions with a date.

The classes are sections of the YAML (`gates:`) and travel to the gate as JSON, so that what a
person writes is what the gate reads.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from components.gates.anomaly_kinds import AnomalyKind, Severity

__all__ = ["Allowance", "DataGate", "DriftGate", "GatePolicy", "GateRule", "SkewLimits"]

Fraction = Annotated[float, Field(ge=0, le=1)]

_DEFAULT_SEVERITY: dict[AnomalyKind, Severity] = {
    AnomalyKind.NEW_COLUMN: Severity.WARNING,
    AnomalyKind.CONSTANT: Severity.WARNING,
    AnomalyKind.LINE_BREAK: Severity.WARNING,
    AnomalyKind.SCHEMA: Severity.WARNING,
    AnomalyKind.DRIFT: Severity.WARNING,
    AnomalyKind.OTHER: Severity.WARNING,
}
"""Kinds not listed are errors."""

INFERRED_TOLERANCE = 0.01
"""Rows that may break a schema nobody has looked at. Unit: share of the split's rows."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class _Selection(_Section):
    """Which findings are meant; what is left out means all."""

    kind: AnomalyKind | None = None
    """The kind of anomaly."""

    column: Annotated[str, Field(min_length=1)] | None = None
    """The column."""

    split: Annotated[str, Field(min_length=1)] | None = None
    """The split."""

    def covers(self, kind: AnomalyKind, column: str, split: str) -> bool:
        """Whether a finding is meant."""
        pairs = ((self.kind, kind), (self.column, column), (self.split, split))
        return all(wanted is None or wanted == value for wanted, value in pairs)

    @model_validator(mode="after")
    def _something_selected(self) -> Self:
        if self.kind is None and self.column is None and self.split is None:
            raise PydanticCustomError(
                "refused",
                "{what}",
                {
                    "what": "this covers every finding there is",
                    "expected": "kind, column or split, or several of them",
                    "fix": "say which findings are meant, or set gates.data.mode",
                },
            )
        return self


class GateRule(_Selection):
    """Another severity or tolerance for some findings; the last rule that covers one counts."""

    severity: Severity | None = None
    """error, warning or ignore."""

    tolerance: Fraction | None = None
    """Share of rows up to which it is a warning only."""


class Allowance(_Selection):
    """Lets a known fault pass for a while, as a warning."""

    until: datetime.date
    """The last day on which it passes."""

    reason: Annotated[str, Field(min_length=5)]
    """Why; shown wherever the finding is shown."""


class DataGate(_Section):
    """What in the data stops a run."""

    mode: Literal["stop", "warn", "off"] = "stop"
    """`stop` on errors; `warn` shows them and goes on; `off` looks at nothing."""

    severity: dict[AnomalyKind, Severity] = {}
    """By kind of anomaly, where it is not the default."""

    tolerance: Fraction | None = None
    """Share of a split's rows that may break the schema before it is an error. By default 0.01
    for an inferred schema and 0 for one of your own."""

    unused_columns: Severity = Severity.WARNING
    """The most that a column can be which is neither feature nor label."""

    rules: tuple[GateRule, ...] = ()
    """Other severities and tolerances by kind, column and split."""

    allow: tuple[Allowance, ...] = ()
    """Known faults that pass until a date."""

    offending_rows: Annotated[int, Field(ge=0, le=100)] = 3
    """Rows of the source that are quoted per finding, with file and line. Unit: rows."""

    masked_columns: tuple[str, ...] = ()
    """Columns whose values are never quoted, in messages or in the report."""


class DriftGate(_Section):
    """How much a column may differ from the span before."""

    categorical: Fraction | None = 0.1
    """Largest change of any value's share of the rows (L-infinity); null looks at none."""

    numeric: Fraction | None = 0.03
    """Jensen-Shannon divergence in bits between the distributions; null looks at none."""

    columns: dict[str, Fraction | None] = {}
    """By column, where it is neither that nor what the schema's drift comparator says; null leaves
    the column out."""

    severity: Severity = Severity.WARNING
    """What drift does to the run."""


class SkewLimits(DriftGate):
    """How much requests to a server may differ from what its version was trained on."""

    columns: dict[str, Fraction | None] = {}
    """By column, where it is neither that nor what the schema's skew comparator says; null leaves
    the column out."""

    severity: Severity = Severity.ERROR
    """What skew does to the run that looks for it."""


class GatePolicy(_Section):
    """Everything that the gate in a pipeline is told."""

    data: DataGate = DataGate()
    """What in the data stops a run."""

    drift: DriftGate = DriftGate()
    """How much a column may differ from the span before."""

    used_columns: tuple[str, ...] | None = None
    """Features and label; None takes all columns for used."""

    schema_is_inferred: bool = True
    """Whether nobody has looked at the schema."""

    schema_file: str = ""
    """The curated schema as the configuration names it, for messages."""

    def rule_severity(
        self, kind: AnomalyKind, column: str, split: str, fraction: float | None
    ) -> Severity:
        """Turns a finding into what it does to the run, allowances left aside.

        Args:
            kind: what is wrong.
            column: where; empty for the split as a whole.
            split: where.
            fraction: share of the split's rows that is affected, if it can be counted.
        """
        data = self.data
        severity = data.severity.get(kind, _DEFAULT_SEVERITY.get(kind, Severity.ERROR))
        if kind in (AnomalyKind.DRIFT, AnomalyKind.SKEW) and kind not in data.severity:
            severity = self.drift.severity
        tolerance = data.tolerance
        if tolerance is None:
            tolerance = INFERRED_TOLERANCE if self.schema_is_inferred else 0.0
        is_used = self.used_columns is None or not column or column in self.used_columns
        if not is_used:
            severity = _milder(severity, data.unused_columns)
        for rule in data.rules:
            if rule.covers(kind, column, split):
                severity = rule.severity or severity
                tolerance = tolerance if rule.tolerance is None else rule.tolerance
        if severity is Severity.ERROR and fraction is not None and fraction <= tolerance:
            return Severity.WARNING
        return severity

    def allowance(self, kind: AnomalyKind, column: str, split: str) -> Allowance | None:
        """The allowance that covers a finding for the longest time, if there is one."""
        covering = [each for each in self.data.allow if each.covers(kind, column, split)]
        return max(covering, key=lambda each: each.until, default=None)


def _milder(one: Severity, other: Severity) -> Severity:
    order = [Severity.ERROR, Severity.WARNING, Severity.IGNORE]
    return max(one, other, key=order.index)
