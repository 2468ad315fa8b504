import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tables.data_path import DataFile
from components.tables.row_hash import row_hashes
from components.tables.row_splits import (
    NO_SPLIT,
    ColumnSplits,
    FileSplits,
    RowSplits,
    SplitPlan,
    TimeSplits,
    split_files,
    splits_from_json,
    splits_from_settings,
    splits_to_json,
)
from components.tables.table_block import TableBlock
from serving.errors import UserError

FILE = DataFile("t.csv", "", "none", 1, 0)


def assign(
    plan: SplitPlan, cells: pa.RecordBatch, typed: pa.RecordBatch | None = None
) -> list[int]:
    block = TableBlock(cells, 0, 1, 2, lambda row: row + 2)
    return list(plan.assign(block, typed or cells, FILE))


def table(rows: int) -> pa.RecordBatch:
    numbers = [str(number) for number in range(rows)]
    return pa.RecordBatch.from_pydict({"n": numbers, "k": [each[-1] for each in numbers]})


def test_shares_are_kept_within_chance() -> None:
    splits = np.array(assign(RowSplits({"train": 6, "eval": 3, "test": 1}), table(100_000)))
    shares = np.bincount(splits) / 100_000
    # Five standard deviations of a binomial.
    assert np.all(np.abs(shares - [0.6, 0.3, 0.1]) < 0.008)


def test_the_hash_is_the_same_on_every_machine() -> None:
    cells = pa.RecordBatch.from_pydict({"b": ["x", None], "a": ["1", "é"]})
    assert row_hashes(cells).tolist() == [5587786414374913880, 13297696769580301404]
    script = (
        "import pyarrow as pa; from components.tables.row_hash import row_hashes; "
        "cells = pa.RecordBatch.from_pydict({'a': ['1', 'é'], 'b': ['x', None]}); "
        "print(row_hashes(cells).tolist())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(row_hashes(cells).tolist())


def test_order_of_rows_and_columns_does_not_matter_and_equal_rows_stay_together() -> None:
    cells = table(1000)
    plan = RowSplits({"train": 2, "eval": 1})
    forwards = assign(plan, cells)
    backwards = assign(plan, cells.take(pa.array(range(999, -1, -1))).select(["k", "n"]))
    assert backwards[::-1] == forwards
    twice = cells.take(pa.array([*range(1000)] * 2))
    assert assign(plan, twice) == forwards * 2


def test_a_moved_border_moves_only_rows_in_between() -> None:
    narrow = np.array(assign(RowSplits({"train": 2, "eval": 1}), table(10_000)))
    wide = np.array(assign(RowSplits({"train": 3, "eval": 1}), table(10_000)))
    assert not np.any((narrow == 0) & (wide == 1))


def test_rows_of_one_group_stay_together() -> None:
    cells = table(5000)
    splits = assign(ColumnSplits("k", {"train": 1, "eval": 1}), cells)
    by_group: dict[str, set[int]] = {}
    for key, split in zip(cells.column("k").to_pylist(), splits, strict=True):
        by_group.setdefault(key, set()).add(split)
    assert {len(each) for each in by_group.values()} == {1}
    assert set(splits) == {0, 1}


def test_rows_without_a_group_are_spread() -> None:
    cells = pa.RecordBatch.from_pydict({"n": table(200).column("n"), "k": pa.nulls(200, "string")})
    assert set(assign(ColumnSplits("k", {"train": 1, "eval": 1}), cells)) == {0, 1}


@pytest.mark.parametrize(
    ("starts", "values", "splits"),
    [
        ({"eval": 10, "test": 12}, pa.array([9, 10, 11, None, 12]), [0, 1, 1, NO_SPLIT, 2]),
        ({"eval": 10.5}, pa.array([10.0, 10.5, None]), [0, 1, NO_SPLIT]),
        (
            {"eval": "2016-07-01"},
            pa.array(["2016-06-30T23:59:59", "2016-07-01 00:00:00", None, "2016-12-31"]),
            [0, 1, NO_SPLIT, 1],
        ),
        (
            {"eval": "2013-10-01T00:00:00Z"},
            pa.array(["2013-09-30T23:00Z", "2013-10-01T01:00:00+02:00", "2013-10-01T00:00"]),
            [0, 0, 1],
        ),
    ],
)
def test_later_rows_go_into_later_splits(
    starts: dict[str, float | str], values: pa.Array, splits: list[int]
) -> None:
    batch = pa.RecordBatch.from_arrays([values], ["t"])
    assert assign(TimeSplits("t", starts), batch) == splits


def test_a_moment_that_is_no_date_is_named_by_its_line() -> None:
    batch = pa.RecordBatch.from_pydict({"t": ["2016-01-01", "31.12.2016"]})
    with pytest.raises(UserError, match=r"t\.csv line 3, column 't': '31.12.2016' is no ISO"):
        assign(TimeSplits("t", {"eval": "2016-07-01"}), batch)


def test_split_files_are_found_below_the_path(tmp_path: Path) -> None:
    for name in ("train", "eval"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text("a\n1\n")
    plan = FileSplits({"train": "train/*.csv", "eval": "eval"})
    found = split_files(plan, plan.patterns(str(tmp_path)), (".csv",))
    assert [(split, Path(file.path).parent.name) for split, file in found] == [
        (0, "train"),
        (1, "eval"),
    ]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"ratios": {"train": 2, "eval": 0}}, "the shares are"),
        ({"ratios": {}}, "called nothing"),
        ({"ratios": {"a/b": 1}}, "called 'a/b'"),
        ({"by": "row", "ratios": {"train": 1}}, "by is 'row'"),
        ({"by": "time", "column": "t", "starts": {}}, "the starts are"),
        ({"by": "time", "column": "t", "starts": {"a": 1, "b": "2016-01-01"}}, "the starts are"),
        ({"by": "time", "column": "t", "starts": {"a": 2, "b": 1}}, "do not ascend"),
        (
            {"by": "time", "column": "t", "starts": {"a": "July"}},
            "the split 'a' starts at 'July', which is no",
        ),
        ({"by": "time", "column": "t", "starts": {"train": 1}}, "called 'train', 'train'"),
    ],
)
def test_settings_without_sense_are_refused(given: dict[str, object], what: str) -> None:
    with pytest.raises(UserError) as caught:
        splits_from_settings(given)
    assert what in caught.value.what


def test_mistake_in_the_settings_survives_a_pickle() -> None:
    with pytest.raises(UserError) as caught:
        TimeSplits("t", {"eval": "2016-01-01", "test": "May"})
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.what.startswith("data.splits.starts.test: the split 'test' starts at 'May'")


def test_columns_must_allow_the_split() -> None:
    with pytest.raises(UserError, match="no column 'usr'") as caught:
        ColumnSplits("usr", {"train": 1}).check({"user": "string"})
    assert caught.value.fix == "did you mean 'user'?"
    with pytest.raises(UserError, match="'t' holds text, and a split starts at 5"):
        TimeSplits("t", {"eval": 5}).check({"t": "string"})
    with pytest.raises(UserError, match="'t' holds numbers"):
        TimeSplits("t", {"eval": "2016-01-01"}).check({"t": "int64"})


@settings(max_examples=30, deadline=None)
@given(st.permutations(["train", "eval", "test"]))
def test_a_plan_survives_as_text_with_its_order(names: list[str]) -> None:
    for plan in (
        RowSplits(dict.fromkeys(names, 1)),
        ColumnSplits("user id", dict.fromkeys(names, 2)),
        TimeSplits("t", {names[0]: 1, names[1]: 2}, first=names[2]),
        FileSplits({name: f"{name}/*.csv" for name in names}),
    ):
        again = splits_from_json(splits_to_json(plan))
        assert again == plan
        assert again.names == plan.names
