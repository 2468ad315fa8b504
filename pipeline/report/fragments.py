"""Small, self-contained pieces of HTML: text is escaped, pictures are inline SVG, no scripts.

Every function returns markup; `page` makes a whole document of it, which may stand in a sandboxed
frame without network.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Line",
    "bars",
    "escaped",
    "facts",
    "figure",
    "heading",
    "line_chart",
    "matrix",
    "number",
    "page",
    "paragraph",
    "table",
    "verdict",
]

Tone = Literal["good", "bad", "neutral"]

_STYLE = """
:root{color-scheme:light}
body{font:14px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;margin:16px;color:#1f2933;
background:#fff}
h1{font-size:20px;margin:0 0 8px}h2{font-size:16px;margin:20px 0 6px}
p{margin:6px 0;max-width:70em}
table{border-collapse:collapse;margin:6px 0}
th,td{padding:3px 10px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid #e4e7eb}
th{font-weight:600;color:#52606d}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.mark{color:#ba2525;font-weight:600}
.verdict{padding:8px 12px;border-left:4px solid #9aa5b1;background:#f5f7fa;margin:8px 0}
.good{border-color:#2f8132}.bad{border-color:#ba2525}
.scroll{overflow-x:auto}code{font-family:ui-monospace,monospace;font-size:13px}
svg{display:block;margin:6px 0;max-width:100%;height:auto}svg text{font:11px system-ui,sans-serif;
fill:#52606d}
"""
_COLOURS = ("#2368a8", "#c2571a", "#2f8132", "#7c4dba", "#52606d")


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name and the points, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


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
    limit: int = 200,
) -> str:
    """Rows under a header; numbers stand right.

    Args:
        header: names of the columns.
        rows: one value per column.
        marked: row and column of cells that stand out.
        limit: rows shown at most; the rest is counted.
    """
    every = [list(row) for row in rows]
    stand_out = set(marked)
    numeric = [
        bool(every) and all(isinstance(row[column], int | float) for row in every)
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


def bars(values: Mapping[str, float], *, width: int = 320) -> str:
    """One bar per name, longest for the highest value."""
    if not values:
        return ""
    most = max(values.values()) or 1
    height = 18 * len(values) + 4
    parts = []
    for index, (name, value) in enumerate(values.items()):
        top = 18 * index + 4
        length = max(1.0, (width - 200) * value / most)
        parts.append(
            f"<text x='118' y='{top + 10}' text-anchor='end'>{escaped(_short(name, 18))}</text>"
            f"<rect x='124' y='{top}' width='{length:.1f}' height='12' fill='{_COLOURS[0]}'/>"
            f"<text x='{128 + length:.1f}' y='{top + 10}'>{number(value)}</text>"
        )
    return _svg(width, height, "".join(parts), ", ".join(values))


def line_chart(
    lines: Sequence[Line], *, x: str, y: str, width: int = 460, height: int = 240
) -> str:
    """Lines over a common x axis, with a legend.

    Args:
        lines: at least one with at least one point; others are left out.
        x: what the horizontal axis is.
        y: what the vertical axis is.
        width: of the picture. Unit: pixels.
        height: of the picture. Unit: pixels.
    """
    drawn = [
        Line(line.name, points)
        for line in lines
        if (points := [point for point in line.points if all(map(math.isfinite, point))])
    ]
    if not drawn:
        return ""
    left, right, top, bottom = 52, 12, 22, 34
    low_x, high_x = _range([point[0] for line in drawn for point in line.points])
    low_y, high_y = _range([point[1] for line in drawn for point in line.points])

    def place(point: tuple[float, float]) -> str:
        across = left + (width - left - right) * (point[0] - low_x) / (high_x - low_x)
        down = height - bottom - (height - top - bottom) * (point[1] - low_y) / (high_y - low_y)
        return f"{across:.1f},{down:.1f}"

    parts = [
        f"<rect x='{left}' y='{top}' width='{width - left - right}' "
        f"height='{height - top - bottom}' fill='none' stroke='#cbd2d9'/>"
    ]
    for value, anchor, at in ((low_x, "start", left), (high_x, "end", width - right)):
        parts.append(
            f"<text x='{at}' y='{height - bottom + 14}' text-anchor='{anchor}'>"
            f"{number(value)}</text>"
        )
    for value, down in ((low_y, height - bottom), (high_y, top + 10)):
        parts.append(f"<text x='{left - 4}' y='{down}' text-anchor='end'>{number(value)}</text>")
    parts.append(
        f"<text x='{(left + width - right) / 2}' y='{height - 6}' text-anchor='middle'>"
        f"{escaped(x)}</text><text x='4' y='12'>{escaped(y)}</text>"
    )
    along = left + 60
    for index, line in enumerate(drawn):
        colour = _COLOURS[index % len(_COLOURS)]
        path = [place(point) for point in line.points]
        if len(line.points) > 1:
            stroke = f"fill='none' stroke='{colour}' stroke-width='1.6'"
            shape = f"<polyline points='{' '.join(path)}' {stroke}/>"
        else:
            first_x, first_y = path[0].split(",")
            shape = f"<circle cx='{first_x}' cy='{first_y}' r='3' fill='{colour}'/>"
        parts.append(
            f"{shape}<rect x='{along}' y='6' width='10' height='3' fill='{colour}'/>"
            f"<text x='{along + 14}' y='12'>{escaped(line.name)}</text>"
        )
        along += 30 + 7 * len(line.name)
    spec = {
        "kind": "lines",
        "x": x,
        "y": y,
        "lines": [{"name": line.name, "points": list(line.points)} for line in drawn],
    }
    return figure(spec, _svg(width, height, "".join(parts), f"{y} over {x}"))


def figure(spec: Mapping[str, object], still: str) -> str:
    """A picture that stands by itself, and its data for a page that can draw it better.

    Args:
        spec: the kind of chart and its data; a run's report draws it with a plotting library.
        still: what is shown where no scripts run.
    """
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False)
    return f"<figure data-plot='{html.escape(text, quote=True)}'>{still}</figure>\n"


def number(value: float) -> str:
    """Writes a number as a person would: 12,345 or 0.8231."""
    if isinstance(value, int) or (math.isfinite(value) and value == int(value)):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100_000 else f"{value:.4g}"


def _cell(value: object, *, numeric: bool, mark: bool) -> str:
    classes = " ".join(name for name, holds in (("n", numeric), ("mark", mark)) if holds)
    shown = number(value) if isinstance(value, float) else escaped(value)
    if isinstance(value, int) and not isinstance(value, bool):
        shown = number(value)
    return f"<td{f' class={classes!r}' if classes else ''}>{shown}</td>"


def _svg(width: int, height: int, inner: str, label: str) -> str:
    return (
        f"<svg viewBox='0 0 {width} {height}' width='{width}' height='{height}' role='img' "
        f"aria-label='{html.escape(label, quote=True)}'>{inner}</svg>\n"
    )


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def escaped(value: object) -> str:
    """Text as markup that shows it: `&lt;` for `<`; a dash for None."""
    return html.escape("–" if value is None else str(value), quote=True)
