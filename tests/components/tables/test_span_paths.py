from pathlib import Path

import pytest

from components.tables.span_paths import has_span, resolve_spans
from serving.errors import UserError


def lay_out(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("a\n1\n")


@pytest.mark.parametrize(
    ("pattern", "paths", "span", "version", "chosen"),
    [
        ("s{SPAN}/*.csv", ["s1/a.csv", "s2/a.csv", "s10/a.csv"], 10, None, "s10/*.csv"),
        ("s{SPAN:2}.csv", ["s01.csv", "s02.csv", "s3.csv"], 2, None, "s02.csv"),
        ("s{SPAN}", ["s1/a.csv", "s2/a.csv"], 2, None, "s2"),
        (
            "s{SPAN}/v{VERSION}/a.csv",
            ["s1/v9/a.csv", "s2/v2/a.csv", "s2/v10/a.csv"],
            2,
            10,
            "s2/v10/a.csv",
        ),
        (
            "{YYYY}-{MM}-{DD}.csv",
            ["1970-01-02.csv", "2024-02-29.csv", "2024-13-01.csv"],
            19782,
            None,
            "2024-02-29.csv",
        ),
        ("{YYYY}/{MM}{DD}/x.csv", ["2023/1231/x.csv"], 19722, None, "2023/1231/x.csv"),
    ],
)
def test_the_latest_span_and_version_is_chosen_as_tfx_does(
    tmp_path: Path,
    pattern: str,
    paths: list[str],
    span: int,
    version: int | None,
    chosen: str,
) -> None:
    lay_out(tmp_path, *paths)
    found = resolve_spans({"": f"{tmp_path}/{pattern}"})
    assert (found.span, found.version) == (span, version)
    assert found.paths == {"": f"{tmp_path}/{chosen}"}


def test_a_path_without_marks_is_span_zero() -> None:
    assert not has_span("data/*.csv")
    found = resolve_spans({"": "data/*.csv"})
    assert (found.paths, found.span, found.version) == ({"": "data/*.csv"}, 0, None)


def test_a_span_can_be_asked_for(tmp_path: Path) -> None:
    lay_out(tmp_path, "s1/a.csv", "s2/a.csv")
    assert resolve_spans({"": f"{tmp_path}/s{{SPAN}}"}, 1).paths == {"": f"{tmp_path}/s1"}
    with pytest.raises(UserError, match="there is no span 3") as caught:
        resolve_spans({"": f"{tmp_path}/s{{SPAN}}"}, 3)
    assert "one of 1, 2" in caught.value.expected
    with pytest.raises(UserError, match="Span 3 is asked for"):
        resolve_spans({"": str(tmp_path)}, 3)


def test_the_splits_must_have_the_same_span(tmp_path: Path) -> None:
    lay_out(tmp_path, "1/train.csv", "1/eval.csv", "2/train.csv")
    patterns = {name: f"{tmp_path}/{{SPAN}}/{name}.csv" for name in ("train", "eval")}
    with pytest.raises(UserError, match="latest spans of the splits differ"):
        resolve_spans(patterns)
    assert resolve_spans(patterns, 1).span == 1


@pytest.mark.parametrize(
    "pattern", ["{SPAN}/{SPAN}", "{SPAN}/{YYYY}{MM}{DD}", "{YYYY}/x", "v{VERSION}"]
)
def test_marks_that_make_no_span_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UserError, match="don't make a span"):
        resolve_spans({"": f"{tmp_path}/{pattern}"})


def test_nothing_that_matches_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder matches"):
        resolve_spans({"": f"{tmp_path}/{{SPAN}}/*.csv"})


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("s{SPAN}/*.csv", ["s1/a.csv", "s2/a.csv", "s10/a.csv"]),
        ("s{SPAN:2}-v{VERSION:1}.csv", ["s01-v1.csv", "s02-v1.csv", "s02-v3.csv"]),
        ("{YYYY}-{MM}-{DD}/v{VERSION}/a.csv", ["2023-12-31/v1/a.csv", "2024-02-29/v7/a.csv"]),
    ],
)
def test_spans_and_versions_are_those_of_tfx(
    tmp_path: Path, pattern: str, paths: list[str]
) -> None:
    from tfx.components.example_gen.input_processor import FileBasedInputProcessor
    from tfx.proto import example_gen_pb2

    lay_out(tmp_path, *paths)
    split = example_gen_pb2.Input.Split(name="all", pattern=pattern)
    processor = FileBasedInputProcessor(str(tmp_path), [split])
    span, version = processor.resolve_span_and_version()
    chosen = processor.get_pattern_for_span_version(pattern, span, version)
    found = resolve_spans({"": f"{tmp_path}/{pattern}"})
    assert (found.span, found.version) == (span, version)
    assert found.paths[""] == f"{tmp_path}/{chosen}"
