"""What a gate found in the data, or in what a server was sent."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from components.gates.anomaly_kinds import Severity
from pipeline.history import explanation
from pipeline.report import fragments
from pipeline.report.section import Section, nested

if TYPE_CHECKING:
    from pipeline.history.run_history import Run

__all__ = ["findings"]


def findings(run: Run) -> Section | None:
    """Makes the section; None if the run did not get to a gate."""
    verdict = explanation.read_verdict_of(run)
    if verdict is None:
        return None
    day = run.started.date() if run.started else datetime.date.today()
    stop = verdict.stop(day)
    is_skew = run.step("skew") is not None
    passed = "Requests are like the training data." if is_skew else "The data may be used."
    parts = [
        fragments.verdict("The gate stopped the run.", "bad")
        if stop is not None
        else fragments.verdict(passed, "good")
    ]
    rows = [
        (each.severity_on(day).value, each.split, each.column or None, each.sentence(day))
        for each in verdict.findings
        if each.severity is not Severity.IGNORE
    ]
    marked = [(index, 0) for index, row in enumerate(rows) if row[0] == "error"]
    if rows:
        parts.append(
            fragments.table(("severity", "split", "column", "finding"), rows, marked=marked)
        )
    else:
        parts.append(fragments.paragraph("Nothing to object."))
    places = [
        (each.column, place.value if place.value is not None else "(empty)", str(place))
        for each in verdict.findings
        for place in each.places
    ]
    if places:
        parts += [
            fragments.heading("Rows at fault"),
            fragments.table(("column", "cell", "where"), places),
        ]
    if verdict.drift:
        parts.append(fragments.heading(f"Distances from {verdict.compared_with}"))
        parts.append(fragments.distances(verdict.drift))
    title = "Skew" if is_skew else "Anomalies"
    return Section("findings", title, nested(parts))
