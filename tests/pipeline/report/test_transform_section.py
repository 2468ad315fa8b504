"""What preprocessing learnt is shown by column, whichever file it is kept in."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.history import run_history
from pipeline.report import page, transform_section
from trainer.problem import Problem

PROBLEM = Problem.model_validate(
    {
        "features": [
            {"name": "город", "kind": "categorical"},
            {"name": "регион", "kind": "categorical"},
            {"name": 'product, "name"', "kind": "categorical"},
            {"name": "a", "kind": "categorical"},
            {"name": "a b", "kind": "categorical"},
        ],
        "label": {"column": "tier"},
        "task": "multiclass",
    }
)
KEYS = [*(row.key for row in PROBLEM.transformed_features), PROBLEM.transformed_label]


def transformed(
    run: Any, *, masked: list[str], told: dict[str, str], values: dict[int, str] | None = None
) -> str:
    """The section of a run whose every vocabulary has one value, `word N` unless it is given."""
    words = {number: f"word {number}" for number in range(len(KEYS))} | (values or {})
    lines = [*KEYS, *(f"{number}\t{word}" for number, word in words.items())]
    run.payload(
        "transform",
        "transform_graph",
        "transform_fn/assets/shared_vocabularies",
        "\n".join(lines) + "\n",
    )
    run.step("transform", {"transform_graph": ("TransformGraph", {})}, told=told)
    config = {"gates": {"data": {"masked_columns": masked}}}
    (run.folder / "summary.json").write_text(json.dumps({"record": {"config": config}}))
    [found] = run_history.all_runs(run.output)
    section = transform_section.transform(found)
    assert section is not None
    return section.html


TOLD = {"custom_config": json.dumps({"problem": PROBLEM.model_dump_json(), "code": "1"})}


def test_columns_stand_under_the_names_they_have_in_the_data(fabricated: Any) -> None:
    shown = transformed(fabricated, masked=[], told=TOLD)
    assert "город (column_categorical): 1 value<" in shown
    assert "регион (column_categorical_2): 1 value<" in shown
    assert "product, &quot;name&quot; (product_name_categorical): 1 value<" in shown
    assert "tier (label_tier): 1 value<" in shown
    # In the order of the features, the label last.
    places = [shown.index(name) for name in ("город", "регион", "product", "tier (")]
    assert places == sorted(places)


@pytest.mark.parametrize("is_readable", [True, False])
def test_masked_column_is_masked_whatever_it_is_called_after_preprocessing(
    fabricated: Any, is_readable: bool
) -> None:
    told = TOLD if is_readable else {"custom_config": '{"problem": "{}"}'}
    masked = ["регион", 'product, "name"', "a", "tier"]
    shown = transformed(fabricated, masked=masked, told=told)
    assert not [number for number in (1, 2, 3, 5) if f"word {number}" in shown]
    if is_readable:
        assert "регион (column_categorical_2): values are masked" in shown
        # Only what is named: `a` is another column than `a b`.
        assert "word 0" in shown
        assert "word 4" in shown


def test_spaces_around_a_value_are_seen(fabricated: Any) -> None:
    values = {0: " Омск ", 1: "Омск", 2: "a  b", 3: "'x'", 4: "it's", 5: "nbsp\u00a0"}
    shown = transformed(fabricated, masked=[], told=TOLD, values=values)
    for cell in (
        "&#x27; Омск &#x27;",
        "Омск",
        "&#x27;a  b&#x27;",
        "&quot;&#x27;x&#x27;&quot;",
        "it&#x27;s",
        r"&#x27;nbsp\xa0&#x27;",
    ):
        assert f"<td>{cell}</td>" in shown, cell


def test_what_is_masked_is_known_without_a_summary(fabricated: Any) -> None:
    policy = json.dumps({"data": {"masked_columns": ["a"]}})
    settings = json.dumps({"masked": ["tier"]})
    fabricated.step("examples", {}, told={"settings": settings})
    fabricated.step("gate", {}, told={"policy": policy})
    transformed(fabricated, masked=[], told=TOLD)
    (fabricated.folder / "summary.json").unlink()
    html = page.render(run_history.find_run(fabricated.output))
    assert "a (a_categorical): values are masked" in html
    assert "tier (label_tier): values are masked" in html
    assert "word 3" not in html
    assert "word 5" not in html
    assert "word 4" in html


def test_vocabularies_of_our_own_and_of_the_users_code_are_listed_by_name(
    fabricated: Any,
) -> None:
    names = "company_categorical\ncode_integer\nsecret_categorical\n"
    shared = names + "0\tTaxi <b>\n0\tFlash\tCab\n1\t007\n2\thidden\n"
    fabricated.payload(
        "transform", "transform_graph", "transform_fn/assets/shared_vocabularies", shared
    )
    fabricated.payload("transform", "transform_graph", "transform_fn/assets/zzz", b"x\xff\ny\n")
    config = {"gates": {"data": {"masked_columns": ["secret"]}}}
    (fabricated.folder / "summary.json").write_text(json.dumps({"record": {"config": config}}))
    fabricated.step("transform", {"transform_graph": ("TransformGraph", {})})
    [run] = run_history.all_runs(fabricated.output)
    section = transform_section.transform(run)
    assert section is not None
    shown = section.html
    assert shown.index("code_integer: 1 value<") < shown.index("company_categorical: 2 values")
    assert "Taxi &lt;b&gt;" in shown
    # A tab looks like a space, and code of one's own may keep text that is no UTF-8.
    assert r"&#x27;Flash\tCab&#x27;" in shown
    assert "zzz: 2 values" in shown
    assert "secret_categorical: values are masked" in shown
    assert "hidden" not in shown
    assert "shared_vocabularies" not in shown
