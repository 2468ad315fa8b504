"""What of a table is shown on terminals of several widths."""

import io

from rich.console import Console

from pipeline.screen.terminal_table import Column, show

COLUMNS = [Column("name"), Column("note", shortest=5), Column("run")]
ROWS = [["one", "a longer note", "0123456789"], ["[bold]", "", "1"]]


def printed(width: int, *, terminal: bool = True) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    show(console, "title", COLUMNS, ROWS, order=("name", "note", "run"))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_all_columns_are_there_when_they_fit() -> None:
    assert printed(60) == [
        "title",
        "name    note           run",
        "one     a longer note  0123456789",
        "[bold]                 1",
    ]


def test_a_cell_that_may_be_cut_is_cut_first() -> None:
    lines = printed(29)
    assert lines[1].split() == ["name", "note", "run"]
    assert "…" in lines[2]
    assert lines[2] == "one     a longer…  0123456789"


def test_columns_that_have_no_room_are_named() -> None:
    lines = printed(20)
    assert lines[1].split() == ["name", "note"]
    assert " ".join(lines[4:]) == "not shown, the terminal is too narrow: run; --json has all"


def test_the_most_important_column_is_always_there() -> None:
    assert printed(5)[1].startswith("name")


def test_a_log_has_no_width_to_keep_to() -> None:
    assert len(printed(80, terminal=False)[2]) == len("one     a longer note  0123456789")
