"""The report of a run: everything in it, nothing harmful, whatever the data are."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.gates.anomaly_kinds import AnomalyKind, Severity
from components.gates.gate_verdict import Finding, Place, Verdict
from pipeline.history import run_history
from pipeline.report import page

EVIL = "<script>alert(1)</script>'\"&</script>"


def statistics(columns: int, rows: int = 1000) -> bytes:
    """Statistics of `columns` columns, among them the awkward ones."""
    listed = statistics_pb2.DatasetFeatureStatisticsList()
    dataset = listed.datasets.add(num_examples=rows)
    kind = statistics_pb2.FeatureNameStatistics
    for index in range(columns):
        feature = dataset.features.add(type=kind.FLOAT)
        feature.path.step.append(f"column {index}" if index else EVIL)
        common = feature.num_stats.common_stats
        common.num_non_missing, common.max_num_values = rows, 1
        common.tot_num_values = rows - index % 7
        for histogram_type in (0, 1):
            histogram = feature.num_stats.histograms.add(type=histogram_type)
            for low in range(10):
                histogram.buckets.add(low_value=low, high_value=low + 1, sample_count=rows / 10)
        feature.num_stats.max = 10
    huge = dataset.features.add(type=kind.FLOAT)
    huge.path.step.append("infinite")
    huge.num_stats.CopyFrom(dataset.features[1].num_stats)
    huge.num_stats.max, huge.num_stats.mean = math.inf, math.nan
    huge.num_stats.histograms[0].buckets.add(low_value=10, high_value=math.inf, sample_count=1)
    extreme = dataset.features.add(type=kind.INT)
    extreme.path.step.append("int64 extremes")
    extreme.num_stats.CopyFrom(dataset.features[1].num_stats)
    extreme.num_stats.min, extreme.num_stats.max = -(2.0**63), 2.0**63
    long = dataset.features.add(type=kind.STRING)
    long.path.step.append("long texts")
    common = long.string_stats.common_stats
    common.num_non_missing, common.tot_num_values, common.max_num_values = rows, rows, 1
    long.string_stats.unique = 10_000
    for index in range(1000):
        label = f"{EVIL}{index}" + "x" * 10_000
        long.string_stats.rank_histogram.buckets.add(label=label, sample_count=1)
    empty = dataset.features.add(type=kind.STRING)
    empty.path.step.append("empty")
    return bytes(listed.SerializeToString())


def fill(run: Any, columns: int) -> None:
    """Records the steps of a run that a gate stopped."""
    for split in ("train", "eval"):
        run.payload(
            "statistics", "statistics", f"Split-{split}/FeatureStats.pb", statistics(columns)
        )
    finding = Finding(
        AnomalyKind.UNEXPECTED_VALUES,
        "eval",
        EVIL,
        f"'{EVIL}' has values that the schema does not know",
        Severity.ERROR,
        places=(Place(f"{EVIL}.csv", 12, EVIL, {EVIL: EVIL}),),
    )
    run.payload("gate", "verdict", "verdict.json", Verdict((finding,)).to_json())
    schema = f"feature {{ name: {json.dumps(EVIL)} type: FLOAT }}"
    run.payload("schema", "schema", "schema.pbtxt", schema)
    properties = {"rows_train": 1000, "rows_eval": 500, "input_fingerprint": EVIL}
    examples = run.step("examples", {"examples": ("Examples", properties)})
    made = run.step("statistics", {"statistics": ("ExampleStatistics", {})}, examples)
    schema_id = run.step("schema", {"schema": ("Schema", {})}, {"statistics": made["statistics"]})
    run.step(
        "gate",
        {"verdict": ("DataVerdict", {"errors": 1})},
        {"schema": schema_id["schema"], "statistics": made["statistics"]},
    )
    config = {"name": EVIL, "gates": {"data": {"masked_columns": ["column 3"]}}}
    summary = {
        "outcome": "stopped",
        "record": {"config": config, "versions": {EVIL: "1"}, "code": {"commit": None}},
    }
    (run.folder / "summary.json").write_text(json.dumps(summary))


def test_markup_in_names_values_and_paths_is_shown_and_not_obeyed(fabricated: Any) -> None:
    fill(fabricated, columns=5)
    html = page.render(run_history.find_run(fabricated.output))
    assert "alert(1)" in html
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    # Every script element is one of ours: three programs and one document.
    assert (html.count("<script>"), html.count("<script ")) == (3, 1)


def test_run_that_got_nowhere_has_a_report_too(fabricated: Any) -> None:
    fabricated.step("examples", {}, state=5)
    html = page.render(run_history.find_run(fabricated.output))
    assert "examples" in html


def test_masked_column_has_counts_and_no_values(fabricated: Any) -> None:
    fill(fabricated, columns=5)
    html = page.render(run_history.find_run(fabricated.output))
    data = json.loads(
        re.search(r"id='columns-data'>(.*?)</script>", html, re.S).group(1)  # type: ignore[union-attr]
    )
    [column] = [each for each in data["columns"] if each["name"] == "column 3"]
    assert column["masked"]
    assert not any("buckets" in series or "min" in series for series in column["series"])
    rows = re.findall(r"<tr>(?:(?!</tr>).)*column 3<.*?</tr>", html)
    assert rows
    assert all(row.endswith("<td>–</td>" * 3 + "</tr>") for row in rows), rows


def test_500_columns_and_long_texts_stay_small(fabricated: Any) -> None:
    fill(fabricated, columns=500)
    file = page.write(run_history.find_run(fabricated.output))
    assert file == fabricated.folder / "report.html"
    assert file.stat().st_size < 4_000_000


def test_two_runs_are_compared(fabricated: Any, tmp_path: Path) -> None:
    fill(fabricated, columns=3)
    run = run_history.find_run(fabricated.output)
    html = page.render(run, run)
    assert "What was different" in html
    assert "Nothing that is known." in html


def test_metrics_of_two_runs_stand_side_by_side_by_slice(fabricated: Any, tmp_path: Path) -> None:
    runs = []
    for number, auc, recall in ((1, 0.9, math.nan), (2, 0.85, 1.0)):
        made = type(fabricated)(tmp_path / str(number), run_id=f"run {number}")
        rows = [
            {
                "slice": where,
                "baseline": None,
                "metrics": {"example_count": 5, "auc": auc, "recall": recall},
            }
            for where in ({}, {"hour": 3})
        ]
        summary = {"blessed": True, "gated": False, "compared": False, "slices": rows}
        made.payload("evaluator", "evaluation", "summary.json", json.dumps(summary))
        made.step("evaluator", {"evaluation": ("ModelEvaluation", {})})
        record = {"config": {"label": {"name": "y"}, "task": "binary"}}
        record["code"] = {"digest": f"{number:064x}"}
        (made.folder / "summary.json").write_text(json.dumps({"record": record}))
        runs.append(run_history.find_run(made.output))
    html = page.render(*runs)
    assert re.search(r"hour=3</td><td class='n'>5</td><td class='n'>0.9\nΔ \+0.05</td>", html)
    assert "nan" not in html.partition("<h3>Metrics")[2].partition("</table>")[0]
    assert re.search(r"code digest</td><td>0{12}</td><td>0{12}</td>", html)
    assert "y (binary)" in html
    assert "auc 0.9, recall nan" not in html


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (390, True)])
def test_browser_shows_it_without_errors_or_requests(
    fabricated: Any, browser: Any, width: int, dark: bool
) -> None:
    fill(fabricated, columns=200)
    file = page.write(run_history.find_run(fabricated.output))
    browser.open(file, width=width, dark=dark)
    browser.scroll_through()
    assert browser.errors == []
    assert [url for url in browser.requests if not url.startswith("file:")] == []
    assert browser.value("document.querySelectorAll('.card').length") == 24
    assert browser.value("document.querySelectorAll('.card .plot svg').length") >= 20
    assert browser.value("document.documentElement.scrollWidth") <= width
    browser.value("document.getElementById('columns-more').click()")
    assert browser.value("document.querySelectorAll('.card').length") == 48
    # Found by its name; its markup is text.
    browser.value(
        "(() => { const field = document.getElementById('columns-search');"
        " field.value = 'alert'; field.dispatchEvent(new Event('input')); })()"
    )
    assert browser.value("document.querySelector('.card h3').textContent") == EVIL
    assert browser.errors == []


def test_injected_script_would_not_run_even_unescaped(
    fabricated: Any, browser: Any, tmp_path: Path
) -> None:
    fill(fabricated, columns=3)
    html = page.render(run_history.find_run(fabricated.output))
    file = tmp_path / "injected.html"
    file.write_text(html.replace("<main", "<script>window.harmed = 1</script><main", 1))
    browser.open(file)
    assert browser.value("window.harmed") is None
    assert any("Content Security Policy" in error for error in browser.errors)


def test_pictures_have_text_alternatives_and_enough_contrast(fabricated: Any, browser: Any) -> None:
    fill(fabricated, columns=12)
    browser.open(page.write(run_history.find_run(fabricated.output)))
    browser.scroll_through()
    unnamed = "[...document.querySelectorAll('figure svg, .plot svg')].filter("
    unnamed += "(svg) => !svg.closest('[aria-label]') && !svg.querySelector('[aria-label]')).length"
    assert browser.value(unnamed) == 0
    for scheme in (False, True):
        browser.open(fabricated.folder / "report.html", dark=scheme)
        for name in ("ink", "soft", "good", "bad", "warn", "link"):
            assert contrast(colour(browser, name), colour(browser, "paper")) >= 4.5, name
        for name in ("c1", "c2", "c3", "c4"):
            assert contrast(colour(browser, name), colour(browser, "paper")) >= 3, name


def colour(browser: Any, name: str) -> str:
    style = "getComputedStyle(document.documentElement)"
    return str(browser.value(f"{style}.getPropertyValue('--{name}').trim()"))


def contrast(one: str, other: str) -> float:
    """Source: WCAG 2.2, relative luminance and contrast ratio."""
    lights = []
    for text in (one, other):
        parts = [int(text[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)
