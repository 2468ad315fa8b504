import csv
import gzip
import io
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tables.csv_table import CsvFormat
from components.tables.data_path import DataFile, find_data_files
from serving.errors import UserError


def write(folder: Path, content: bytes | str, name: str = "t.csv") -> DataFile:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return find_data_files(str(path), (".csv",))[0]


def rows(file: DataFile, reader: CsvFormat | None = None) -> list[dict[str, str | None]]:
    blocks = (reader or CsvFormat()).read(file)
    return [row for block in blocks for row in block.batch.to_pylist()]


def mistake(file: DataFile, reader: CsvFormat | None = None) -> UserError:
    with pytest.raises(UserError) as caught:
        rows(file, reader)
    return caught.value


@pytest.mark.parametrize(
    "content",
    [
        b"a,b c\n1,x\n2,\n",
        b"\xef\xbb\xbfa,b c\n1,x\n2,\n",
        b"a,b c\r\n1,x\r\n2,\r\n",
        b"a,b c\r1,x\r2,\r",
        b"\n\na,b c\n1,x\n\n2,",
        b'"a","b c"\n"1","x"\n"2",""\n',
    ],
)
def test_every_way_to_write_a_table_reads_the_same(tmp_path: Path, content: bytes) -> None:
    assert rows(write(tmp_path, content)) == [{"a": "1", "b c": "x"}, {"a": "2", "b c": None}]


def test_quotes_protect_delimiters_and_line_breaks(tmp_path: Path) -> None:
    file = write(tmp_path, 'größe in cm,"a, b"\n"1,5","two\nlines"\n3,"a ""q"""\n')
    assert rows(file) == [
        {"größe in cm": "1,5", "a, b": "two\nlines"},
        {"größe in cm": "3", "a, b": 'a "q"'},
    ]


def test_packed_files_read_like_plain_ones(tmp_path: Path) -> None:
    content = b"a,b\n" + b"".join(b"%d,x\n" % number for number in range(1000))
    plain = rows(write(tmp_path, content))
    # Two members in one gzip file, as bgzip and cat make them.
    packed = gzip.compress(content[:2000]) + gzip.compress(content[2000:])
    assert rows(write(tmp_path, packed, "t.csv.gz")) == plain
    zstd = pa.compress(content, "zstd", asbytes=True)
    assert rows(write(tmp_path, zstd, "t.csv.zst")) == plain
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/t.csv", content)
        archive.writestr("__MACOSX/._t.csv", b"junk")
        archive.writestr("readme.txt", b"no table")
    (member,) = find_data_files(str(tmp_path / "t.zip"), (".csv",))
    assert rows(member) == plain


def test_missing_values_and_delimiter_are_settings(tmp_path: Path) -> None:
    reader = CsvFormat(delimiter=";", missing_values=("", "NA"))
    file = write(tmp_path, 'a;b\nNA;"NA"\n;n/a\n')
    assert rows(file, reader) == [{"a": None, "b": None}, {"a": None, "b": "n/a"}]


def test_a_file_without_header_takes_names_from_the_settings(tmp_path: Path) -> None:
    reader = CsvFormat(column_names=("a", "b"))
    assert rows(write(tmp_path, "1,2\n3,4\n"), reader) == [
        {"a": "1", "b": "2"},
        {"a": "3", "b": "4"},
    ]


def test_ragged_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    head = 'a,b,c\n1,"two\n\nlines",3\n\n' + "1,2,3\n" * 100
    file = write(tmp_path, head + "1,2\n" + "1,2,3\n" * 5)
    error = mistake(file)
    assert error.what == f"{file.name} line 106: 2 cells instead of 3: 1,2"
    assert "after column 'b'" in error.fix


def test_too_many_cells_suggest_quotes(tmp_path: Path) -> None:
    error = mistake(write(tmp_path, "a,b\n1,Smith, John\n"))
    assert "line 2: 3 cells instead of 2: 1,Smith, John" in error.what
    assert "into quotes" in error.fix


def test_a_quote_that_swallows_lines_is_suspected(tmp_path: Path) -> None:
    error = mistake(write(tmp_path, 'a,b\n1,2\n3,"open\n5,6\n7,8",9\n'))
    assert "line 3" in error.what
    assert "a quote in line 3 goes on to line 5" in error.fix


def test_an_unclosed_quote_is_no_cell(tmp_path: Path) -> None:
    assert "line 3: a quote opens here" in mistake(write(tmp_path, 'a,b\n1,2\n3,"open\n5,6\n')).what


def test_wrong_encoding_is_named_by_line_column_and_offset(tmp_path: Path) -> None:
    content = "name,city\nAnn,Paris\nBob,Orléans\n".encode("latin-1")
    file = write(tmp_path, content)
    error = mistake(file)
    offset = content.index(b"\xe9")
    assert f"line 3, column 'city': byte 0xe9 at offset {offset}" in error.what
    assert "'Orléans'" in error.what
    assert "iconv -f cp1252 -t utf-8" in error.fix


def test_wrong_encoding_of_the_header_is_named(tmp_path: Path) -> None:
    assert "line 1" in mistake(write(tmp_path, "größe,b\n1,2\n".encode("latin-1"))).what


@pytest.mark.parametrize(
    ("content", "what", "fix"),
    [
        ("a;b;c\n1;2;3\n", "holds a semicolon", 'data.delimiter: ";"'),
        ("a\tb\n1\t2\n", "holds a tab", r'data.delimiter: "\t"'),
        ("a,b,a\n1,2,3\n", "2 columns are called 'a' (columns 1, 3)", "rename"),
        (",a,b\n0,1,2\n", "column 1 of 3 has no name", "index=False"),
        ("1,2,3\n4,5,6\n", "numbers, not names", "data.column_names"),
        ("a,b\n1,2\n".encode("utf-16"), "UTF-16", "iconv -f utf-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "UTF-16", "iconv -f utf-16"),
        (b"PAR1\x00\x01", "Parquet", "format: parquet"),
        (b"\x7fELF\x00\x00", "no text", "CSV"),
        ("\n\n", "is empty", "remove the file"),
    ],
)
def test_a_file_that_is_no_such_table_says_so(
    tmp_path: Path, content: bytes | str, what: str, fix: str
) -> None:
    error = mistake(write(tmp_path, content))
    assert what in error.what
    assert fix in error.fix


def test_the_delimiter_must_be_one_character() -> None:
    with pytest.raises(UserError, match="delimiter is ',,'"):
        CsvFormat(delimiter=",,")


def test_lines_are_right_behind_blank_lines_and_breaks(tmp_path: Path) -> None:
    file = write(tmp_path, 'a,b\n1,x\n\n2,"y\nz"\n3,w\n')
    (block,) = CsvFormat().read(file)
    assert [block.line_of(row) for row in range(3)] == [2, 4, 6]


TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\r"),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(
    table=st.lists(st.lists(TEXT, min_size=3, max_size=3), min_size=1, max_size=20),
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[list[str]],
    delimiter: str,
    newline: str,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=newline)
    writer.writerow(["a", "b", "c"])
    writer.writerows(table)
    file = write(tmp_path_factory.mktemp("csv"), text.getvalue())
    read = [list(row.values()) for row in rows(file, CsvFormat(delimiter=delimiter))]
    assert read == [[cell or None for cell in row] for row in table]
