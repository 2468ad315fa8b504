"""The bars of a column of texts say what the statistics know, and where they know nothing."""

from __future__ import annotations

from typing import Any

from tensorflow_metadata.proto.v0 import statistics_pb2

from components.gates.column_statistics import SplitStatistics, read_statistics
from pipeline.history import run_history
from pipeline.report import column_series, page


def split(
    counts: dict[str, int],
    *,
    missing: int = 0,
    distinct: int = 0,
    others: int = 0,
    per_row: int = 1,
) -> bytes:
    """A split of one column `cat`, as TFDV writes it.

    Args:
        counts: of the values that it lists.
        missing: rows without a value.
        distinct: different values, listed or not.
        others: values that it does not list.
        per_row: values in each row that has any.
    """
    listed = statistics_pb2.DatasetFeatureStatisticsList()
    values = sum(counts.values()) + others
    dataset = listed.datasets.add(num_examples=values // per_row + missing)
    feature = dataset.features.add(type=statistics_pb2.FeatureNameStatistics.STRING)
    feature.path.step.append("cat")
    common = feature.string_stats.common_stats
    common.num_non_missing = values // per_row
    common.tot_num_values = values
    common.min_num_values, common.max_num_values = per_row, per_row
    feature.string_stats.unique = distinct or len(counts)
    for value, count in sorted(counts.items(), key=lambda each: (-each[1], each[0])):
        feature.string_stats.rank_histogram.buckets.add(label=value, sample_count=count)
    return bytes(listed.SerializeToString())


def entry(**sets: bytes) -> dict[str, Any]:
    read: dict[str, SplitStatistics] = {name: read_statistics(each) for name, each in sets.items()}
    [made] = column_series.entries(read, {}, {})
    return made


def shares(column: dict[str, Any], name: str) -> dict[str, float | None]:
    [series] = [each for each in column["series"] if each["name"] == name]
    return dict(zip(column["values"], series["shares"], strict=True))


def test_each_value_has_its_true_share_in_every_split() -> None:
    train = {f"k{number}": 100 - number for number in range(23)}
    # The other way round in eval: what is first in one split is last in the other.
    evaluation = {f"k{number}": 78 + number for number in range(23)}
    column = entry(train=split(train, missing=100), eval=split(evaluation))
    shown = column["values"]
    assert shown[:8] == [f"k{number}" for number in range(8)]
    assert column["series"][0]["top"] == "k0"
    assert column["series"][1]["top"] == "k22"
    assert "k22" in shown
    for name, counts, rows in (
        ("train", train, sum(train.values()) + 100),
        ("eval", evaluation, sum(evaluation.values())),
    ):
        expected = {value: round(counts[value] / rows, 6) for value in shown}
        assert shares(column, name) == expected


def test_order_is_that_of_the_first_split_and_new_values_are_not_lost() -> None:
    train = {f"k{number:02}": 1000 - number for number in range(30)}
    served = {"new": 900, "k00": 50, "k29": 50}
    column = entry(train=split(train), serving=split(served))
    assert column["values"][:8] == [f"k{number:02}" for number in range(8)]
    assert "new" in column["values"]
    assert shares(column, "train")["new"] == 0
    assert shares(column, "serving")["new"] == 0.9
    assert shares(column, "serving")["k01"] == 0
    known = [share for share in shares(column, "train").values() if share is not None]
    assert known == sorted(known, reverse=True)
    assert len(column["values"]) <= 12


def test_share_that_the_statistics_do_not_know_is_not_called_none() -> None:
    train = {"a": 40, "b": 30}
    column = entry(
        train=split(train, distinct=10, others=30),
        eval=split({"a": 20, "c": 70, "b": 10}),
    )
    assert shares(column, "train") == {"a": 0.4, "b": 0.3, "c": None}
    assert shares(column, "eval") == {"a": 0.2, "b": 0.1, "c": 0.7}
    [of_train, of_eval] = column["series"]
    # No value that is left out is more frequent than the last that is listed.
    assert of_train["unlisted"] == 8
    assert of_train["at_most"] == 0.3
    assert "at_most" not in of_eval


def test_share_of_lists_is_one_of_values() -> None:
    column = entry(train=split({"a": 120, "b": 80}, per_row=2, missing=100))
    assert shares(column, "train") == {"a": 0.6, "b": 0.4}
    assert column["of"] == "values"


def test_long_texts_with_one_beginning_stay_apart_and_spaces_are_seen() -> None:
    counts = {"x" * 100 + "1": 3, "x" * 100 + "2": 2, " a": 1}
    column = entry(train=split(counts))
    assert [each[1] for each in zip(column["values"], [3, 2, 1], strict=True)] == [3, 2, 1]
    assert column["values"][2] == "' a'"
    assert column["series"][0]["shares"] == [0.5, round(1 / 3, 6), round(1 / 6, 6)]
    assert max(map(len, column["values"])) <= 60


def test_browser_draws_each_bar_and_says_what_is_not_known(fabricated: Any, browser: Any) -> None:
    long = "x" * 100
    sets = {
        "train": split({f"{long}1": 40, f"{long}2": 30}, distinct=10, others=30),
        "eval": split({"c": 70, f"{long}1": 20, f"{long}2": 10}),
    }
    for name, content in sets.items():
        fabricated.payload("statistics", "statistics", f"Split-{name}/FeatureStats.pb", content)
    fabricated.step(
        "statistics", {"statistics": ("ExampleStatistics", {"split_names": '["train", "eval"]'})}
    )
    browser.open(page.write(run_history.find_run(fabricated.output)))
    browser.scroll_through()
    assert browser.errors == []
    bars = (
        "[...document.querySelectorAll('.plot [aria-label=bar] title')].map((e) => e.textContent)"
    )
    drawn = browser.value(bars)
    assert sorted(each.partition(":")[0] for each in drawn) == ["eval"] * 3 + ["train"] * 2
    assert any(each.endswith("70 % of the rows") for each in drawn)
    told = browser.value("document.querySelector('.card').textContent")
    assert "?: not listed in the statistics of train, at most 30 %" in told
