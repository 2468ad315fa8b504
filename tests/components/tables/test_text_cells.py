"""Which text stands among numbers, where, and what is advised."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from components.tables.csv_table import CsvFormat
from components.tables.data_path import find_data_files
from components.tables.parquet_table import ParquetFormat
from components.tables.table_facts import inspect_files
from components.tables.table_format import TableFormat
from components.tables.text_cells import TextFound, find_cell, find_text


def found(folder: Path, reader: TableFormat, *, is_masked: bool = False) -> TextFound:
    files = find_data_files(str(folder), reader.suffixes)
    column = inspect_files(files, reader).column("x")
    return find_text(column, files, reader, is_masked=is_masked)


def test_text_in_the_last_of_several_files_is_found(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("x,y\n1,1\n2,1\n")
    (tmp_path / "2.csv").write_text('y,x\n"a\nb",3\n1,-\n')
    text = found(tmp_path, CsvFormat(missing_values=("", "NA")))
    assert text.held == f"'-' in {tmp_path / '2.csv'} line 4"
    assert text.remedy.endswith('(data.missing_values: ["", "NA", "-"])')
    masked = found(tmp_path, CsvFormat(), is_masked=True)
    assert masked.held == f"text in {tmp_path / '2.csv'} line 4"
    assert "-" not in masked.remedy


def test_numbers_beyond_64_bits_throughout_are_called_that(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text(f"x,y\n,1\n{2**64},1\n{2**65},1\n")
    held = found(tmp_path, CsvFormat()).held
    assert held == (
        f"text such as '{2**64}', '{2**65}', beyond 64 bits, first in {tmp_path / '1.csv'} line 3"
    )


def test_text_of_a_typed_file_is_to_be_written_as_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"x": ["3", "4"]}), tmp_path / "2.parquet")
    text = found(tmp_path, ParquetFormat())
    assert text.held == f"'3' in {tmp_path / '2.parquet'} line 1"
    assert text.remedy == "write the column as numbers in all files"


def test_a_cell_is_found_by_what_it_says(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1.5, None, 2.5]}), tmp_path / "1.parquet")
    files = find_data_files(str(tmp_path), (".parquet",))
    cell = find_cell(files, ParquetFormat(), "x", "2.5")
    assert cell is not None
    assert (cell.text, cell.line) == ("2.5", 3)
    assert find_cell(files, ParquetFormat(), "x", "7") is None
