"""Small, self-contained pieces of HTML: sentences, facts, tables. Text is escaped, no scripts.

Every function returns markup; `page` makes a whole document of it, which may stand in a sandboxed
frame without network.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

__all__ = [
    "distances",
    "escaped",
    "facts",
    "heading",
    "matrix",
    "number",
    "page",
    "paragraph",
    "plain",
    "side_by_side",
    "table",
    "verdict",
]

Tone = Literal["good", "bad", "neutral"]

_JOINERS = "\u200c\u200d"
"""Letters and pictures of some scripts are joined or parted by these; they are no blanks."""

_STYLE = """
:root{color-scheme:light}
body{font:14px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:16px;color:#1f2933;
background:#fff}
h1{font-size:20px;margin:0 0 8px}h2{font-size:16px;margin:20px 0 6px}
p{margin:6px 0;max-width:70em}
table{border-collapse:collapse;margin:6px 0}
th,td{padding:3px 10px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid #e4e7eb}
th{font-weight:600;color:#52606d}td.n,th.n{text-align:right;
font-variant-numeric:tabular-nums}td.n{white-space:pre}
td.mark{color:#ba2525;font-weight:600}
.verdict{padding:8px 12px;border-left:4px solid #9aa5b1;background:#f5f7fa;margin:8px 0}
.good{border-color:#2f8132}.bad{border-color:#ba2525}
.scroll{overflow-x:auto}code{font-family:ui-monospace,monospace;font-size:13px}
svg{display:block;margin:6px 0;max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;
fill:#52606d}
"""


def page(title: str, *parts: str) -> str:
    """Makes a whole document."""
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{escaped(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{escaped(title)}</h1>\n{''.join(parts)}\n</body></html>\n"
    )


def heading(text: str) -> str:
    """A heading of a part."""
    return f"<h2>{escaped(text)}</h2>\n"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escaped(text)}</p>\n"


def verdict(text: str, tone: Tone, reasons: Iterable[str] = ()) -> str:
    """One sentence that matters most, with its reasons."""
    items = "".join(f"<li>{escaped(reason)}</li>" for reason in reasons)
    more = f"<ul>{items}</ul>" if items else ""
    return f"<div class='verdict {tone}'><strong>{escaped(text)}</strong>{more}</div>\n"


def facts(rows: Mapping[str, object]) -> str:
    """Names and values, one a line."""
    lines = "".join(
        f"<tr><th scope='row'>{escaped(name)}</th><td>{escaped(value)}</td></tr>"
        for name, value in rows.items()
    )
    return f"<table>{lines}</table>\n"


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    marked: Iterable[tuple[int, int]] = (),
    right: Collection[int] = (),
    limit: int = 200,
) -> str:
    """Rows under a header; numbers stand right.

    Args:
        header: names of the columns.
        rows: one value per column.
        marked: row and column of cells that stand out.
        right: columns of numbers that are given as text, perhaps in several lines.
        limit: rows shown at most; the rest is counted.
    """
    every = [list(row) for row in rows]
    stand_out = set(marked)
    numeric = [
        column in right
        or (bool(every) and all(isinstance(row[column], int | float) for row in every))
        for column in range(len(header))
    ]
    lines = []
    for index, row in enumerate(every[:limit]):
        cells = "".join(
            _cell(value, numeric=numeric[column], mark=(index, column) in stand_out)
            for column, value in enumerate(row)
        )
        lines.append(f"<tr>{cells}</tr>")
    heads = "".join(
        f"<th scope='col'{' class=n' if right else ''}>{escaped(name)}</th>"
        for name, right in zip(header, numeric, strict=True)
    )
    hidden = len(every) - limit
    more = paragraph(f"… {hidden:,} more") if hidden > 0 else ""
    return (
        f"<div class='scroll'><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>{more}\n"
    )


def matrix(labels: Sequence[str], counts: Sequence[Sequence[float]], *, corner: str) -> str:
    """A confusion matrix: a row for each true class, a column for each predicted one.

    Shape: `counts` is [len(labels), len(labels)].
    """
    most = max((value for row in counts for value in row), default=0) or 1
    heads = "".join(f"<th scope='col' class=n>{escaped(label)}</th>" for label in labels)
    lines = []
    for label, row in zip(labels, counts, strict=True):
        cells = "".join(
            f"<td class=n style='background:rgba(35,104,168,{0.35 * value / most:.3f})'>"
            f"{number(value)}</td>"
            for value in row
        )
        lines.append(f"<tr><th scope='row'>{escaped(label)}</th>{cells}</tr>")
    return (
        f"<div class='scroll'><table><thead><tr><th>{escaped(corner)}</th>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>\n"
    )


def side_by_side(parts: Iterable[str]) -> str:
    """Pieces next to each other where there is room, below each other where not."""
    cells = "".join(f"<div>{part}</div>" for part in parts if part)
    return f"<div class='two'>{cells}</div>\n" if cells else ""


def distances(rows: Iterable[Mapping[str, Any]], *, limit: int = 100) -> str:
    """How far columns are apart between two sets of rows, the furthest first.

    Args:
        rows: as a verdict keeps them: split, column, measure, distance, chance, change.
        limit: rows shown at most; the rest is counted.
    """
    header = ("column", "split", "measure", "distance", "by chance", "what changed most")
    ordered = sorted(rows, key=lambda row: -row["distance"])
    return table(
        header,
        [
            (
                row["column"],
                row["split"],
                row["measure"].replace("_", " "),
                round(row["distance"], 4),
                round(row["chance"], 4),
                row["change"],
            )
            for row in ordered
        ],
        limit=limit,
    )


def number(value: float) -> str:
    """Writes a number as a person would: 12,345 or 0.8231."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:.4g}"


def plain(text: str) -> str:
    """Quotes a text of the data that one could take for another one; leaves others alone.

    Such are spaces at an end or in a row, tabs, characters that do not show, and quotes that could
    be ours.
    """
    is_clear = text[:1] not in ("", "'", '"') and text == text.strip() and "  " not in text
    shows = all(letter.isprintable() or letter in _JOINERS for letter in text)
    return text if is_clear and shows else repr(text)


def _cell(value: object, *, numeric: bool, mark: bool) -> str:
    classes = " ".join(name for name, holds in (("n", numeric), ("mark", mark)) if holds)
    shown = number(value) if isinstance(value, float) else escaped(value)
    if isinstance(value, int) and not isinstance(value, bool):
        shown = number(value)
    return f"<td{f' class={classes!r}' if classes else ''}>{shown}</td>"


def escaped(value: object) -> str:
    """Text as markup that shows it: `&lt;` for `<`; a dash for None."""
    return html.escape("–" if value is None else str(value), quote=True)
