"""Where a version stands and where it comes from: the ledger, and the lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.history import lineage
from pipeline.report import fragments
from pipeline.report.fragments import escaped
from pipeline.report.section import Section

if TYPE_CHECKING:
    from pipeline.history.lineage import Ancestor
    from pipeline.history.run_history import Run

__all__ = ["ancestry", "ledger_parts"]


def ledger_parts(base: str) -> list[str]:
    """The ledger as it is now, which may be later than the run."""
    from serving import ledger, rollout
    from serving.errors import UserError

    try:
        document = ledger.read(base)
    except (UserError, OSError) as error:
        return [fragments.paragraph(f"The ledger can't be read: {error}")]
    rows = [
        (
            str(entry.version),
            ", ".join(document.names_of(entry.version)) or None,
            entry.state,
            f"{entry.created:%Y-%m-%d %H:%M}",
            entry.run_id,
        )
        for entry in reversed(document.versions)
    ]
    history = [
        (
            f"{change.at:%Y-%m-%d %H:%M}",
            rollout.worded(change),
            change.who,
            change.why,
        )
        for change in reversed(document.history)
    ]
    return [
        fragments.heading(f"Versions at {base}"),
        fragments.table(("version", "label", "state", "made", "run"), rows, limit=20),
        fragments.heading("Changes"),
        fragments.table(("when", "what", "who", "why"), history, limit=20),
    ]


def ancestry(run: Run) -> Section | None:
    """Makes the section; None if the run made nothing."""
    for node, key in (
        ("pusher", "pushed_model"),
        ("trainer", "model"),
        ("examples", "examples"),
        ("skew", "verdict"),
    ):
        artifact = run.output(node, key)
        if artifact is not None and run.store is not None:
            root = lineage.of_artifact(run.store, artifact.id, key)
            return Section("lineage", "Lineage", f"<ul class='tree'>{_branch(root)}</ul>")
    return None


def _branch(ancestor: Ancestor) -> str:
    head = f"<strong>{escaped(ancestor.key)}</strong> {escaped(ancestor.type)} {ancestor.id}"
    if ancestor.is_repeated:
        return f"<li>{head}, see above</li>"
    made = f" made by {ancestor.node} in run {ancestor.run_id}" if ancestor.node else ""
    facts = "".join(
        f"<br>{escaped(name.replace('_', ' '))}: <code>{escaped(_shown(name, value))}</code>"
        for name, value in ancestor.facts.items()
    )
    below = "".join(map(_branch, ancestor.sources))
    return (
        f"<li>{head}{escaped(made)}<br><code>{escaped(ancestor.uri)}</code>{facts}"
        + (f"<ul>{below}</ul>" if below else "")
        + "</li>"
    )


def _shown(name: str, value: object) -> str:
    is_count = isinstance(value, int) and name.startswith("rows_")
    return f"{value:,}" if is_count else str(value)
