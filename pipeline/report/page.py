"""A run as one HTML file that opens anywhere: no server, no network, no notebook.

Texts and tables are written here; charts are drawn in the browser by the plotting library inside
the file. A policy in the page lets only its own scripts run and nothing be loaded, so that a value
in the data can do no harm even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.history import run_history
from pipeline.history.run_history import Run
from pipeline.history.run_source import RunSource
from pipeline.report import sections
from pipeline.report.fragments import escaped
from pipeline.report.section import Section

__all__ = ["render", "write", "write_report"]

_ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("d3.min.js", "plot.min.js", "report.js")
_FILE = "report.html"


def write_report(run_folder: Path, metadata_url: str = "") -> Path:
    """Writes the report of a local run into its folder.

    Args:
        run_folder: `<output>/runs/<run id>`.
        metadata_url: the store that it is recorded in; empty for the output's own.

    Raises:
        UserError: the metadata store is not there or does not know the run.
    """
    output = run_folder.parent.parent
    source = RunSource(output, metadata_url)
    run = run_history.find_run(source, run_folder.name)
    return write(run, to=run_folder / _FILE)


def write(run: Run, *, to: Path | None = None, other: Run | None = None) -> Path:
    """Writes a run's report.

    Args:
        run: the run.
        to: the file; by default `report.html` in the run's folder, or `report-RUN.html` here.
        other: a second run to compare with.
    """
    if to is None:
        name = _FILE if other is None else f"compared-with-{other.run_id}.html"
        # A cluster's run has no folder here.
        to = run.folder / name if run.folder else Path(f"report-{run.run_id}.html")
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_name(f".{to.name}.partial")
    partial.write_text(render(run, other), encoding="utf-8")
    partial.replace(to)
    return to


def render(run: Run, other: Run | None = None) -> str:
    """Makes the whole document."""
    made = sections.all_sections(run, other)
    title = f"{run.pipeline} · run {run.run_id}"
    data = [section for section in made if section.data is not None]
    scripts = [(_ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    return "".join(
        (
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>\n",
            f"<meta http-equiv='Content-Security-Policy' content=\"{_policy(scripts)}\">\n",
            "<meta name='viewport' content='width=device-width,initial-scale=1'>\n",
            f"<title>{escaped(title)}</title>\n<style>{_text('report.css')}</style></head>\n",
            "<body><a class='skip' href='#main'>Skip to the report</a>\n",
            f"<header><h1>{escaped(title)}</h1></header>\n",
            f"<nav aria-label='Sections'><ul>{''.join(map(_link, made))}</ul></nav>\n",
            f"<main id='main'>{''.join(map(_section, made))}</main>\n",
            "<footer>Written by kubetfx from the run's metadata. Charts: Observable Plot and D3 "
            "(ISC licence).</footer>\n",
            *(_json_block(f"{section.id}-data", section.data) for section in data),
            *(f"<script>{script}</script>\n" for script in scripts),
            "</body></html>\n",
        )
    )


def _policy(scripts: list[str]) -> str:
    digests = (
        base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts
    )
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _link(section: Section) -> str:
    return f"<li><a href='#{section.id}-section'>{escaped(section.title)}</a></li>"


def _section(section: Section) -> str:
    return (
        f"<section id='{section.id}-section' aria-labelledby='{section.id}-title'>"
        f"<h2 id='{section.id}-title'>{escaped(section.title)}</h2>\n{section.html}</section>\n"
    )


def _json_block(name: str, data: Any) -> str:
    """JSON that can't end its element: `<` is written as an escape."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"<script type='application/json' id='{name}'>{text}</script>\n"


def _text(asset: str) -> str:
    return (_ASSETS / asset).read_text(encoding="utf-8")
