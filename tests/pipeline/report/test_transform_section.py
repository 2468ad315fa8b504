"""What preprocessing learnt is shown by column, whichever file it is kept in."""

from __future__ import annotations

import json
from typing import Any

from pipeline.history import run_history
from pipeline.report import transform_section


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
    assert "Flash\tCab" in shown
    assert "zzz: 2 values" in shown
    assert "secret_categorical: values are masked" in shown
    assert "hidden" not in shown
    assert "shared_vocabularies" not in shown
