from pathlib import Path

import pytest

from components.example_gen.encoding import encode_task
from components.example_gen.ingestion_plan import IngestionPlan, LabelPlan
from components.example_gen.scan import EncodeTask, plan_tasks, scan_file
from components.example_records import ExampleEncoder
from components.tables.csv_table import CsvFormat
from components.tables.data_path import find_data_files
from components.tables.expression import Expression
from components.tables.row_splits import RowSplits, TimeSplits
from serving.errors import UserError


def planned(path: Path, plan: IngestionPlan) -> EncodeTask:
    (file,) = find_data_files(str(path), (".csv",))
    (task,) = plan_tasks([scan_file(0, None, file, plan)], plan)
    return task


def test_a_file_that_changed_between_the_readings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    plan = IngestionPlan(CsvFormat(), RowSplits({"train": 1}))
    task = planned(path, plan)
    path.write_text("a,b\n1,2\n3,x\n")
    with pytest.raises(UserError, match=r"t\.csv from line 2 on, column 'b'") as caught:
        encode_task(task, plan, ExampleEncoder(), str(tmp_path))
    assert "nothing writes" in caught.value.fix


def test_rows_without_label_or_moment_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t,x,y\n1,1,1\n,1,1\n2,,1\n3,0,0\n4,1,inf\n9,inf,inf\n")
    # inf - inf is no number, and so no label.
    label = LabelPlan("d", Expression.parse("x - y"))
    plan = IngestionPlan(CsvFormat(), TimeSplits("t", {"eval": 3}), label)
    report = encode_task(planned(path, plan), plan, ExampleEncoder(), str(tmp_path))
    assert report.rows == {"train": 1, "eval": 2}
    assert report.dropped == {"missing_moment": 1, "missing_label": 2}
    assert set(report.labels) == {"0.0", "-inf"}


def test_the_order_of_rows_is_mixed_and_the_same_in_every_run(tmp_path: Path) -> None:
    from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

    from components.record_file import read_records

    path = tmp_path / "t.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(100)))
    plan = IngestionPlan(CsvFormat(), RowSplits({"train": 1}))
    task = planned(path, plan)
    orders = []
    for _ in range(2):
        report = encode_task(task, plan, ExampleEncoder(), str(tmp_path))
        records = list(read_records([(tmp_path / report.files["train"]).read_bytes()], "t"))
        rows = ExamplesToRecordBatchDecoder().DecodeBatch(records).to_pydict()["n"]
        orders.append([row[0] for row in rows])
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert sorted(orders[0]) == list(range(100))
