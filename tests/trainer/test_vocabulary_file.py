"""The file of all vocabularies is read back as it was written."""

from trainer.vocabulary_file import line_start, read_vocabularies


def test_values_come_back_in_order_whatever_they_hold() -> None:
    values = {"a": [b"1\tx", b"\xff \x85", "\u2028".encode()], "b": [], "c": [b" c "]}
    lines = [name.encode() for name in values]
    for number, words in enumerate(values.values()):
        lines += [line_start(number) + word for word in words]
    assert read_vocabularies(b"\n".join(lines) + b"\n") == values


def test_columns_without_any_value_have_empty_vocabularies() -> None:
    assert read_vocabularies(b"a\nb\n") == {"a": [], "b": []}
