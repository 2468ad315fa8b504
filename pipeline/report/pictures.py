"""Pictures as inline SVG, each with its data beside it for a page that can draw it better."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.report.fragments import escaped, number

__all__ = ["Line", "bars", "figure", "line_chart"]

_COLOURS = ("#2368a8", "#c2571a", "#2f8132", "#7c4dba", "#52606d")
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 22, 34
"""Margins of a line chart. Unit: pixels."""


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name and the points, in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


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
    plane = _Plane.around(drawn, width, height)
    inner = plane.frame() + plane.axes(x, y) + plane.lines(drawn)
    spec = {
        "kind": "lines",
        "x": x,
        "y": y,
        "lines": [{"name": line.name, "points": list(line.points)} for line in drawn],
    }
    return figure(spec, _svg(width, height, inner, f"{y} over {x}"))


@dataclass(frozen=True)
class _Plane:
    """Where points of the data stand in a picture. Units: `width`, `height` in pixels."""

    width: int
    height: int
    low: tuple[float, float]
    high: tuple[float, float]

    @classmethod
    def around(cls, lines: Sequence[Line], width: int, height: int) -> _Plane:
        """Spans all points."""
        ranges = [
            _range([point[axis] for line in lines for point in line.points]) for axis in (0, 1)
        ]
        low, high = zip(*ranges, strict=True)
        return cls(width, height, (low[0], low[1]), (high[0], high[1]))

    def place(self, point: tuple[float, float]) -> tuple[float, float]:
        """Turns a point of the data into pixels."""
        share = [
            (value - low) / (high - low)
            for value, low, high in zip(point, self.low, self.high, strict=True)
        ]
        across = _LEFT + (self.width - _LEFT - _RIGHT) * share[0]
        down = self.height - _BOTTOM - (self.height - _TOP - _BOTTOM) * share[1]
        return across, down

    def frame(self) -> str:
        """The border."""
        return (
            f"<rect x='{_LEFT}' y='{_TOP}' width='{self.width - _LEFT - _RIGHT}' "
            f"height='{self.height - _TOP - _BOTTOM}' fill='none' stroke='#cbd2d9'/>"
        )

    def axes(self, x: str, y: str) -> str:
        """The ends of both axes, and what they are."""
        bottom, end = self.height - _BOTTOM, self.width - _RIGHT
        parts = [
            f"<text x='{at}' y='{bottom + 14}' text-anchor='{anchor}'>{number(value)}</text>"
            for value, anchor, at in ((self.low[0], "start", _LEFT), (self.high[0], "end", end))
        ]
        parts += [
            f"<text x='{_LEFT - 4}' y='{down}' text-anchor='end'>{number(value)}</text>"
            for value, down in ((self.low[1], bottom), (self.high[1], _TOP + 10))
        ]
        middle = (_LEFT + end) / 2
        parts.append(
            f"<text x='{middle}' y='{self.height - 6}' text-anchor='middle'>{escaped(x)}</text>"
            f"<text x='4' y='12'>{escaped(y)}</text>"
        )
        return "".join(parts)

    def lines(self, lines: Sequence[Line]) -> str:
        """The lines, a single point as a dot, and their names."""
        parts = []
        along = _LEFT + 60
        for index, line in enumerate(lines):
            colour = _COLOURS[index % len(_COLOURS)]
            path = [self.place(point) for point in line.points]
            if len(path) > 1:
                joined = " ".join(f"{across:.1f},{down:.1f}" for across, down in path)
                stroke = f"fill='none' stroke='{colour}' stroke-width='1.6'"
                parts.append(f"<polyline points='{joined}' {stroke}/>")
            else:
                [(across, down)] = path
                parts.append(f"<circle cx='{across:.1f}' cy='{down:.1f}' r='3' fill='{colour}'/>")
            parts.append(
                f"<rect x='{along}' y='6' width='10' height='3' fill='{colour}'/>"
                f"<text x='{along + 14}' y='12'>{escaped(line.name)}</text>"
            )
            along += 30 + 7 * len(line.name)
        return "".join(parts)


def figure(spec: Mapping[str, object], still: str) -> str:
    """A picture that stands by itself, and its data for a page that can draw it better.

    Args:
        spec: the kind of chart and its data; a run's report draws it with a plotting library.
        still: what is shown where no scripts run.
    """
    text = json.dumps(spec, separators=(",", ":"), ensure_ascii=False)
    return f"<figure data-plot='{html.escape(text, quote=True)}'>{still}</figure>\n"


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
