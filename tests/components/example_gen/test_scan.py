"""The first reading of files, and what it refuses."""

from pathlib import Path

import pytest

from components.example_gen.ingestion_plan import IngestionPlan, LabelPlan
from components.example_gen.scan import plan_tasks, scan_file
from components.tables.csv_table import CsvFormat
from components.tables.data_path import find_data_files
from components.tables.expression import Expression
from components.tables.row_splits import RowSplits
from serving.errors import UserError


@pytest.mark.parametrize("cell", ["USD 12.5", "9223372036854775808"])
def test_text_in_a_computed_label_is_told_by_file_and_line(tmp_path: Path, cell: str) -> None:
    rows = [f"{number},{number / 2}" for number in range(50)]
    (tmp_path / "1.csv").write_text("\n".join(["tips,fare", *rows, ""]))
    rows[20] = f"3,{cell}"
    (tmp_path / "2.csv").write_text("\n".join(["tips,fare", *rows, ""]))
    plan = IngestionPlan(
        CsvFormat(),
        RowSplits({"train": 2, "eval": 1}),
        LabelPlan("big", Expression.parse("tips > 0.2 * fare", "label")),
    )
    files = find_data_files(str(tmp_path), (".csv",))
    scans = [scan_file(number, None, file, plan) for number, file in enumerate(files)]
    with pytest.raises(UserError, match="label: a number is needed") as caught:
        plan_tasks(scans, plan)
    assert f"{tmp_path / '2.csv'} line 22" in caught.value.what
    # Which columns are masked is not known to the step.
    assert cell not in str(caught.value)
