"""What the data gate found, as a document that is kept with the run and decided on when read.

The document holds every finding with its severity and, where one applies, the allowance that lets
it pass. Whether it stops the run depends on the day it is read: an answer from the cache does not
outlive an allowance.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

from components.gates.anomaly_kinds import AnomalyKind, Severity
from serving.errors import GateStop

__all__ = ["VERDICT_FILE", "Finding", "Place", "Verdict", "told_once"]

VERDICT_FILE = "verdict.json"

_SHOWN = 12
_SCHEMA_DECIDES = frozenset(
    {
        AnomalyKind.MISSING_COLUMN,
        AnomalyKind.NEW_COLUMN,
        AnomalyKind.MISSING_VALUES,
        AnomalyKind.WRONG_TYPE,
        AnomalyKind.UNEXPECTED_VALUES,
        AnomalyKind.OUT_OF_RANGE,
    }
)
"""Kinds that a change of the schema would settle."""


@dataclass(frozen=True)
class Place:
    """A row of the source that a finding is about.

    Attributes:
        file: the file as the user knows it.
        line: 1-based, the header being line 1.
        value: the offending cell as written; None if it is empty, masked ones show no letters.
        row: other cells of the row, by column.
    """

    file: str
    line: int
    value: str | None
    row: Mapping[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.file} line {self.line:,}"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong in one split.

    Attributes:
        kind: what.
        split: where; several with commas between where the same holds in them.
        column: where; empty for the split as a whole.
        text: the sentence, without the split.
        severity: what it does to the run, its allowance left aside.
        fraction: share of the split's rows affected, if it can be counted.
        weight: how bad it is beside others of its severity.
        places: some of the rows.
        allowed_until: the last day on which an allowance lets it pass.
        allowed_because: the allowance's reason.
    """

    kind: AnomalyKind
    split: str
    column: str
    text: str
    severity: Severity
    fraction: float | None = None
    weight: float = 0.0
    places: tuple[Place, ...] = ()
    allowed_until: datetime.date | None = None
    allowed_because: str = ""

    def severity_on(self, day: datetime.date) -> Severity:
        """What it does to a run on a day."""
        is_allowed = self.allowed_until is not None and day <= self.allowed_until
        return Severity.WARNING if is_allowed and self.severity == "error" else self.severity

    def sentence(self, day: datetime.date) -> str:
        """`eval: 'trip_miles' missing in 3.1 % of rows (first seen in data.csv line 4,512)`."""
        seen = f" (first seen in {self.places[0]})" if self.places else ""
        if self.allowed_until is None or self.severity is not Severity.ERROR:
            note = ""
        elif day <= self.allowed_until:
            note = f" (allowed until {self.allowed_until}: {self.allowed_because})"
        else:
            note = f" (the allowance ended on {self.allowed_until}: {self.allowed_because})"
        return f"{self.split}: {self.text}{seen}{note}"


@dataclass(frozen=True)
class Verdict:
    """All findings of one run.

    Attributes:
        findings: the worst first.
        drift: every column's distance from the span before, flagged or not.
        rows: rows by split.
        mode: the gate's mode when it looked.
        schema: the schema, in words that fit behind "the schema".
        compared_with: names the span before, if there was one.
        previous_statistics: where the statistics of that span are.
        expected: what a stop says was expected; by default data that fit the schema.
        fix: what a stop says to do; by default worked out from the findings.
    """

    findings: tuple[Finding, ...] = ()
    drift: tuple[Mapping[str, Any], ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    mode: str = "stop"
    schema: str = ""
    compared_with: str = ""
    previous_statistics: str = ""
    expected: str = ""
    fix: str = ""

    def having(self, severity: Severity, day: datetime.date | None = None) -> tuple[Finding, ...]:
        """The findings of a severity on a day, today by default."""
        day = day or datetime.date.today()
        return tuple(each for each in self.findings if each.severity_on(day) is severity)

    def stop(self, day: datetime.date | None = None) -> GateStop | None:
        """The error that stops the run on a day; None if it may go on."""
        day = day or datetime.date.today()
        errors = self.having(Severity.ERROR, day)
        if self.mode != "stop" or not errors:
            return None
        sentences = [each.sentence(day) for each in errors[:_SHOWN]]
        if len(errors) > _SHOWN:
            sentences.append(f"… and {len(errors) - _SHOWN} more")
        return GateStop(
            "\n  ".join(sentences),
            expected=self.expected or f"data that fit the schema {self.schema}",
            fix=self.fix or _remedy(errors),
        )

    def to_json(self) -> str:
        """Writes the document."""
        return json.dumps(asdict(self), indent=1, default=str, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote."""
        document = json.loads(text)
        findings = tuple(_finding(each) for each in document.pop("findings"))
        drift = tuple(document.pop("drift"))
        return cls(findings=findings, drift=drift, **document)


def told_once(findings: Iterable[Finding]) -> list[Finding]:
    """Makes one finding of those that differ in nothing but their split, and names the splits."""
    splits: dict[str, list[str]] = {}
    firsts: dict[str, Finding] = {}
    for each in findings:
        key = repr(replace(each, split=""))
        firsts.setdefault(key, each)
        splits.setdefault(key, []).append(each.split)
    return [replace(first, split=", ".join(splits[key])) for key, first in firsts.items()]


def _finding(document: dict[str, Any]) -> Finding:
    until = document.pop("allowed_until")
    return Finding(
        kind=AnomalyKind(document.pop("kind")),
        severity=Severity(document.pop("severity")),
        places=tuple(Place(**place) for place in document.pop("places")),
        allowed_until=datetime.date.fromisoformat(until) if until else None,
        **document,
    )


def _remedy(errors: tuple[Finding, ...]) -> str:
    kinds = {each.kind for each in errors}
    if kinds <= {AnomalyKind.NO_ROWS, AnomalyKind.ROW_COUNT}:
        return "look at where the rows went: the source, the splits, rows without a label"
    first = errors[0]
    selector = ", ".join(
        f"{key}: {value}"
        for key, value in (("kind", first.kind.value), ("column", first.column))
        if value
    )
    until = datetime.date.today() + datetime.timedelta(days=30)
    decided = [each.column for each in errors if each.kind in _SCHEMA_DECIDES]
    where = f" for {_named(decided)}" if len(decided) < len(errors) else ""
    schema = (
        f"or, if the data are right, let the schema say so{where} (`kubetfx schema diff`, "
        "`kubetfx schema accept`); "
        if decided
        else ""
    )
    return (
        f"mend the rows; {schema}or let it pass for a while with "
        f"gates.data.allow: [{{{selector}, until: {until}, reason: …}}]"
    )


def _named(columns: list[str]) -> str:
    different = list(dict.fromkeys(columns))
    shown = ", ".join(repr(each) for each in different[:3])
    return shown + (f" and {len(different) - 3:,} more" if different[3:] else "")
