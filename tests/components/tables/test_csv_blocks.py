import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.tables import csv_blocks
from components.tables.csv_blocks import cut_rows, first_row_end
from serving.errors import UserError


def cut(data: bytes, block_bytes: int) -> list[csv_blocks.RowBlock]:
    return list(cut_rows(io.BytesIO(data), "t.csv", ",", block_bytes=block_bytes))


CELLS = st.text(st.sampled_from('ab,"\n'), max_size=6).map(
    lambda text: '"' + text.replace('"', '""') + '"' if {*text} & {",", '"', "\n"} else text
)
ROWS = st.lists(st.lists(CELLS, min_size=2, max_size=3).map(",".join), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, block_bytes=st.integers(1, 40), ends=st.booleans())
@example(rows=['5" pipe,a', '"x\ny",b', 'c"d"e,"f"'], block_bytes=7, ends=True)
@example(rows=['"a"b"c,d', 'e,"""q"""', '"",""'], block_bytes=5, ends=False)
def test_cuts_fall_between_rows(rows: list[str], block_bytes: int, ends: bool) -> None:
    data = ("\n".join(rows) + "\n" * ends).encode()
    starts = {0}
    for row in rows:
        starts.add(max(starts) + len(row) + 1)
    blocks = cut(data, block_bytes)
    assert b"".join(block.data for block in blocks) == data
    for block in blocks:
        assert block.start in starts
        assert block.first_line == 1 + data.count(b"\n", 0, block.start)


def test_a_part_is_cut_like_the_whole() -> None:
    data = b"".join(b"%d,x\n" % number for number in range(1000))
    middle = data.index(b"500,")
    stream = io.BytesIO(data)
    stream.seek(middle)
    stop = data.index(b"700,")
    blocks = list(
        cut_rows(stream, "t.csv", ",", start=middle, stop=stop, first_line=501, block_bytes=99)
    )
    assert b"".join(block.data for block in blocks) == data[middle:stop]
    assert blocks[-1].data.endswith(b"699,x\n")


def test_a_quote_in_the_middle_of_a_cell_is_an_ordinary_character() -> None:
    data = b'5" pipe,a\n6" pipe,b\n"quoted\nbreak",c\n'
    assert [block.data for block in cut(data, 4)] == [
        b'5" pipe,a\n',
        b'6" pipe,b\n',
        b'"quoted\nbreak",c\n',
    ]


def test_an_unclosed_quote_is_named_by_its_line() -> None:
    data = b'a,b\n1,"x\ny"\n2,"never closed\n3,4\n5,6\n'
    with pytest.raises(UserError, match=r"t\.csv line 4: a quote opens here") as caught:
        cut(data, 1 << 20)
    assert "doubled" in caught.value.expected


def test_an_unclosed_quote_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_blocks, "MAX_ROW_BYTES", 5000)
    data = b'a,b\n1,"never closed\n' + b"2,3\n" * 10_000
    with pytest.raises(UserError, match="line 2: a quote opens here"):
        cut(data, 1000)


def test_old_macintosh_line_ends_are_row_ends() -> None:
    assert [block.data for block in cut(b"a,b\r1,2\r3,4\r", 4)] == [b"a,b\r", b"1,2\r", b"3,4\r"]


def test_the_first_row_may_hold_line_breaks() -> None:
    assert first_row_end(b'"a\nb",c\n1,2\n', ",") == 8
    assert first_row_end(b'"a\nb', ",") == 0
    assert first_row_end(b"a,b", ",") == 0
