from itertools import permutations

import pyarrow as pa
import pytest

from components.tables.column_types import ColumnType, convert_cells, first_text_row, widen, widest


def type_of(*cells: str | None) -> ColumnType:
    return widen("empty", pa.array(cells, pa.string()), infer=True)[0]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["1", "-2", None], "int64", [1, -2, None]),
        ([" 1", "2 ", "+3", "007"], "int64", [1, 2, 3, 7]),
        (["1", "nan", " ", "NaN"], "int64", [1, None, None, None]),
        (["9223372036854775807"], "int64", [2**63 - 1]),
        (["1", "2.5", "1e3", ".5", "1."], "float64", [1, 2.5, 1000, 0.5, 1]),
        (["2.5", " nan", "", "+1"], "float64", [2.5, None, None, 1]),
        (["1.5", "inf"], "float64", [1.5, float("inf")]),
        ([None, None], "empty", [None, None]),
        (["1", "1_000"], "string", ["1", "1_000"]),
        (["1", "1,000"], "string", ["1", "1,000"]),
        (["0x1F", "2"], "string", ["0x1F", "2"]),
        (["99999999999999999999", "1.5"], "string", ["99999999999999999999", "1.5"]),
        (["9223372036854775807", "1.5"], "float64", [2.0**63, 1.5]),
        (["true", "False"], "string", ["true", "False"]),
        (["2013-01-01"], "string", ["2013-01-01"]),
        (["a ", " b"], "string", ["a ", " b"]),
    ],
)
def test_the_narrowest_type_holds_every_cell(
    cells: list[str | None], kind: ColumnType, values: list[object]
) -> None:
    array = pa.array(cells, pa.string())
    assert widen("empty", array, infer=True)[0] == kind
    assert convert_cells(array, kind).to_pylist() == values


def test_the_order_of_blocks_does_not_matter() -> None:
    blocks = (["1", "2"], ["3.5"], ["nan", "+4"], [None], ["7"])
    for order in permutations(blocks):
        kind: ColumnType = "empty"
        for cells in order:
            kind, _ = widen(kind, pa.array(cells, pa.string()), infer=True)
        assert kind == "float64"


def test_one_word_at_the_end_makes_a_column_text() -> None:
    kind, _ = widen("int64", pa.array(["5", "unknown"]), infer=True)
    assert kind == "string"
    assert widest("float64", "string") == "string"


def test_text_of_a_typed_format_stays_text() -> None:
    assert widen("empty", pa.array(["1"]), infer=False)[0] == "string"
    assert widen("empty", pa.array([1.5]), infer=False)[0] == "float64"


def test_a_column_of_blanks_has_no_value() -> None:
    assert type_of(" ", "nan") == "empty"


def test_the_first_word_among_numbers_is_found() -> None:
    assert first_text_row(pa.array(["1", None, "2.5", "n/a", "x"])) == 3
    assert first_text_row(pa.array(["a", "b", "3"])) is None
    assert first_text_row(pa.array(["1", "2"])) is None


@pytest.mark.parametrize("size", [1, 3, 600, 5000])
@pytest.mark.parametrize("culprit", ["n/a", "9223372036854775808", "-9223372036854775809", "0x1F"])
def test_the_first_cell_is_found_that_the_parser_refuses(size: int, culprit: str) -> None:
    """Cells such as +inf and a no-break space before digits are numbers to the parser."""
    odd: list[str | None] = [
        "\u00a01",
        "INF",
        "+inf",
        " NaN ",
        None,
        "9223372036854775807",
        "1e400",
        "7",
    ]
    for row in {size * 2 // 3, size - 1}:
        cells: list[str | None] = [odd[number % len(odd)] for number in range(size)]
        cells[row:] = [culprit, *cells[row + 1 : -1], "x"][: size - row]
        cells = [*["5"] * min(size, 1000), *cells]
        found = first_text_row(pa.array(cells))
        assert found == cells.index(culprit)
        assert widen("empty", pa.array(cells[:found]), infer=True)[0] != "string"


def test_numbers_too_large_throughout_are_text_throughout() -> None:
    assert first_text_row(pa.array([str(2**64 + n) for n in range(9)])) is None
    assert first_text_row(pa.array(["1", None, str(2**63)])) == 2
    assert first_text_row(pa.array(["1", "9" * 5000, "2"])) == 1


def test_a_cell_that_no_longer_fits_is_refused() -> None:
    with pytest.raises(pa.ArrowInvalid):
        convert_cells(pa.array(["1", "x"]), "int64")
    with pytest.raises(pa.ArrowInvalid):
        convert_cells(pa.array(["1"]), "empty")
