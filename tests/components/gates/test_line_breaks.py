"""Values with a line break inside, which no vocabulary holds, are counted and quoted."""

from __future__ import annotations

import json
from pathlib import Path

from components.gates.anomaly_kinds import Severity
from components.gates.column_statistics import ColumnStatistics, SplitStatistics
from components.gates.gate_policy import DataGate, GatePolicy
from components.gates.gate_verdict import Finding
from components.gates.line_breaks import find_line_breaks

ROWS = (
    'plain,1,2015\n"in\nside",1,2015\nplain,1,2017\n"late\r\none",1,2017\n"late\ntwo",,2017\n'
    '"three\n",0,2017\n'
)


def found(
    tmp_path: Path, values: tuple[str, ...], distinct: int, policy: GatePolicy
) -> list[Finding]:
    data = tmp_path / "a.csv"
    data.write_bytes(("company,tip,when\n" + ROWS).encode())
    settings: dict[str, object] = {
        "label": {"name": "tip", "expression": None},
        "columns": None,
        "exclude": [],
        "types": {},
        "part_bytes": 1 << 20,
    }
    source = {
        "path": str(data),
        "table_format": '{"format": "csv"}',
        "splits": '{"by": "time", "column": "when", "starts": {"eval": 2016}, "first": "train"}',
        "settings": json.dumps(settings),
        "compress": 0,
    }
    column = ColumnStatistics(
        "company", "text", 4, 0, distinct=distinct, values=tuple((each, 1.0) for each in values)
    )
    statistics = {name: SplitStatistics(4, {"company": column}) for name in ("train", "eval")}
    return find_line_breaks(statistics, source, None, policy)


def test_value_with_a_line_break_warns_with_place_and_count(tmp_path: Path) -> None:
    findings = found(tmp_path, ("plain", "in\nside"), 2, GatePolicy())
    assert [(each.split, each.severity) for each in findings] == [
        ("eval", Severity.WARNING),
        ("train", Severity.WARNING),
    ]
    evaluated, trained = findings
    assert "'company' has a line break inside in 25 % of rows (1 of 4)" in trained.text
    assert [place.line for place in trained.places] == [3]
    # The row without a label never became an example.
    assert "(2 of 4)" in evaluated.text
    assert [place.line for place in evaluated.places] == [6, 10]


def test_source_is_looked_through_where_statistics_do_not_list_every_value(tmp_path: Path) -> None:
    assert found(tmp_path, ("plain",), 1, GatePolicy()) == []
    assert len(found(tmp_path, ("plain",), 5, GatePolicy())) == 2
    assert found(tmp_path, ("plain",), 5, GatePolicy(used_columns=("tip",))) == []


def test_masked_column_is_counted_and_not_quoted(tmp_path: Path) -> None:
    policy = GatePolicy(data=DataGate(masked_columns=("company",)))
    findings = found(tmp_path, ("in\nside",), 1, policy)
    assert {place.value for each in findings for place in each.places} == {"•••"}
