"""Paths with {SPAN}, {VERSION} or {YYYY}{MM}{DD} in them → the path of one span.

The words mean what they mean in TFX: a span is a batch of data such as a day, a version a later
edition of it. The latest span is taken unless one is asked for, and of it the latest version.

    data/span-{SPAN}/*.csv          data/{YYYY}-{MM}-{DD}.csv          data/{SPAN:4}/v{VERSION}
"""

from __future__ import annotations

import datetime
import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass

from components.tables.data_path import list_paths, resolve_path
from serving.errors import UserError

__all__ = ["SpanPaths", "has_span", "list_spans", "resolve_spans"]

_MARK = re.compile(r"\{(?:(SPAN|VERSION)(?::(\d+))?|(YYYY|MM|DD))\}")
_DATE_MARKS = ("YYYY", "MM", "DD")
_EPOCH = datetime.date(1970, 1, 1)


@dataclass(frozen=True)
class SpanPaths:
    """The paths of one span.

    Attributes:
        paths: by split ("" where all splits share one path), marks replaced.
        span: its number; days since 1970-01-01 for dates, 0 without marks.
        version: its version; None without a mark.
    """

    paths: dict[str, str]
    span: int
    version: int | None


def has_span(path: str) -> bool:
    """Whether a path has marks."""
    return _MARK.search(path) is not None


def resolve_spans(patterns: Mapping[str, str], span: int | None = None) -> SpanPaths:
    """Finds the span to read: the one asked for, or the latest.

    Args:
        patterns: path of each split, as in `SplitPlan.patterns`.
        span: number of the span; None is the latest.

    Raises:
        UserError: marks that don't fit together, no such span, or splits whose latest spans
            differ.
    """
    if not any(map(has_span, patterns.values())):
        if span is not None:
            raise UserError(
                f"Span {span} is asked for, but the path {next(iter(patterns.values()))} has none.",
                expected="{SPAN}, or {YYYY}, {MM} and {DD}, in data.path",
                fix="mark the part of the path that changes from span to span",
            )
        return SpanPaths(dict(patterns), 0, None)
    latest = {name: _choose(pattern, span) for name, pattern in patterns.items()}
    if len({(each.span, each.version) for each in latest.values()}) > 1:
        shown = ", ".join(f"{name} {each.path}" for name, each in latest.items())
        raise UserError(
            f"The latest spans of the splits differ: {shown}.",
            expected="the same span and version for every split",
            fix="wait until the span is complete, or ask for an earlier one",
        )
    one = next(iter(latest.values()))
    return SpanPaths({name: each.path for name, each in latest.items()}, one.span, one.version)


def list_spans(pattern: str) -> list[str]:
    """Lists the path of every span and version that there is of a path with marks."""
    return sorted(each.path for each in _candidates(resolve_path(pattern)))


@dataclass(frozen=True, order=True)
class _Candidate:
    span: int
    version: int | None
    path: str


def _choose(pattern: str, span: int | None) -> _Candidate:
    place = resolve_path(pattern)
    _check_marks(place)
    spans = _candidates(place)
    if not spans:
        raise UserError(
            f"{place}: no file or folder matches.",
            expected="digits where {SPAN}, {VERSION}, {YYYY}, {MM} or {DD} stand",
            fix=f"check data.path against what {_MARK.sub('*', place)} matches",
        )
    wanted = [each for each in spans if span is None or each.span == span]
    if not wanted:
        numbers = sorted({each.span for each in spans})
        shown = ", ".join(map(str, numbers[-10:]))
        raise UserError(
            f"{place}: there is no span {span}.",
            expected=f"one of {'…, ' if len(numbers) > 10 else ''}{shown}",
            fix="ask for one of them, or wait for the data",
        )
    return max(wanted, key=lambda each: (each.span, -1 if each.version is None else each.version))


def _candidates(place: str) -> list[_Candidate]:
    expression = re.compile(_regex(place))
    listed = list_paths(_MARK.sub("*", place))
    found = (_candidate(place, expression.fullmatch(path)) for path in listed)
    return [each for each in found if each is not None]


def _candidate(place: str, match: re.Match[str] | None) -> _Candidate | None:
    if match is None:
        return None
    texts = match.groupdict()
    if "SPAN" in texts:
        span = int(texts["SPAN"])
    else:
        try:
            span = (datetime.date(*(int(texts[mark]) for mark in _DATE_MARKS)) - _EPOCH).days
        except ValueError:
            return None
    version = int(texts["VERSION"]) if "VERSION" in texts else None
    path = _MARK.sub(lambda mark: texts[mark.group(1) or mark.group(3)], place)
    return _Candidate(span, version, path)


def _check_marks(place: str) -> None:
    marks = [mark.group(1) or mark.group(3) for mark in _MARK.finditer(place)]
    dates = [mark for mark in marks if mark in _DATE_MARKS]
    by_number = marks.count("SPAN") == 1 and not dates
    by_date = sorted(dates) == sorted(_DATE_MARKS) and "SPAN" not in marks
    if marks.count("VERSION") <= 1 and (by_number or by_date):
        return
    raise UserError(
        f"{place}: the marks {', '.join(f'{{{mark}}}' for mark in marks)} don't make a span.",
        expected="either {SPAN}, or {YYYY}, {MM} and {DD}; optionally {VERSION}; each once",
        fix="correct data.path",
    )


def _regex(place: str) -> str:
    """Writes the pattern as a regular expression with a named group for each mark."""
    parts, end = [], 0
    for mark in _MARK.finditer(place):
        name = mark.group(1) or mark.group(3)
        width = mark.group(2) or {"YYYY": 4, "MM": 2, "DD": 2}.get(name)
        parts += [_glob_regex(place[end : mark.start()])]
        parts += [rf"(?P<{name}>\d{{{width}}})" if width else rf"(?P<{name}>\d+)"]
        end = mark.end()
    return "".join([*parts, _glob_regex(place[end:])])


def _glob_regex(text: str) -> str:
    tokens = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", text)
    wildcards = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        wildcards.get(token) or (token if glob.has_magic(token) else re.escape(token))
        for token in tokens
    )
