import datetime
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.tables import parquet_table
from components.tables.data_path import DataFile, find_data_files
from components.tables.parquet_table import ParquetFormat
from components.tables.table_block import FilePart
from components.tables.table_facts import inspect
from serving.errors import UserError


def write(folder: Path, table: pa.Table, **settings: int) -> DataFile:
    pq.write_table(table, folder / "t.parquet", **settings)
    return find_data_files(str(folder), (".parquet",))[0]


def test_zeros_stay_zeros_and_every_kind_of_cell_has_its_form(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "small": pa.array([0, None, 2], pa.int8()),
            "part": pa.array([0.0, float("nan"), 0.5], pa.float32()),
            "yes": [False, True, None],
            "price": [decimal.Decimal("0.00"), decimal.Decimal("1.25"), None],
            "word": pa.array(["", "b", None]).dictionary_encode(),
            "raw": [b"x", None, "é".encode()],
            "day": [moment.date(), None, moment.date()],
            "at": [moment, None, moment],
            "none": pa.nulls(3),
        }
    )
    (block,) = ParquetFormat().read(write(tmp_path, table))
    assert block.batch.to_pydict() == {
        "small": [0, None, 2],
        "part": [0.0, None, 0.5],
        "yes": [0, 1, None],
        "price": [0.0, 1.25, None],
        "word": ["", "b", None],
        "raw": ["x", None, "é"],
        "day": ["2024-02-29", None, "2024-02-29"],
        "at": ["2024-02-29T12:30:00.000000Z", None, "2024-02-29T12:30:00.000000Z"],
        "none": [None, None, None],
    }
    facts = inspect(str(tmp_path), ParquetFormat())
    assert facts.types["at"] == "string"
    assert facts.column("at").is_iso8601
    assert (facts.column("small").min, facts.column("none").type) == (0, "empty")


def test_parts_are_read_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "_BLOCK_ROWS", 30)
    file = write(tmp_path, pa.table({"n": range(1000)}), row_group_size=100)
    whole = [row for block in ParquetFormat().read(file) for row in block.batch["n"].to_pylist()]
    assert whole == list(range(1000))
    part = FilePart(file, ("n",), 250, 425, 251, 175, 0)
    blocks = list(ParquetFormat().read(file, part))
    assert [row for block in blocks for row in block.batch["n"].to_pylist()] == [*range(250, 425)]
    assert (blocks[0].start, blocks[0].first_line, blocks[-1].stop) == (250, 251, 425)
    assert blocks[0].line_of(3) == 254


@pytest.mark.parametrize(
    ("table", "what"),
    [
        (pa.table({"a": [[1, 2]]}), "holds list"),
        (pa.table({"a": [{"b": 1}]}), "holds struct"),
        (pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), "called 'a'"),
        (pa.table({"a": pa.array([2**64 - 1], pa.uint64())}), "column 'a'"),
        (pa.table({"a": [b"\xff"]}), "column 'a'"),
    ],
)
def test_columns_that_are_no_cells_are_refused(tmp_path: Path, table: pa.Table, what: str) -> None:
    file = write(tmp_path, table)
    with pytest.raises(UserError, match=what):
        list(ParquetFormat().read(file))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="can't be read as Parquet"):
        inspect(str(tmp_path), ParquetFormat())
