"""The file that holds the vocabularies of all columns: their names first, then all values.

```
company_categorical
payment_type_categorical
0<TAB>Flash Cab
0<TAB>City Service
1<TAB>Cash
```

One file makes one lookup table, whatever the number of columns. The number before a value is that
of its column, whose values go from the most to the least frequent. A value that TensorFlow could
not read back from a line, because it has a line break inside, is not in it.
"""

__all__ = ["FILE", "line_start", "read_vocabularies"]

FILE = "shared_vocabularies"
"""Its name, in `assets/` of the transform graph."""


def line_start(column: int) -> bytes:
    """What the lines of a column's values begin with; no name of a column has a tab."""
    return b"%d\t" % column


def read_vocabularies(content: bytes) -> dict[str, list[bytes]]:
    """Turns the file's content into the values of each column, the most frequent first."""
    lines = content.removesuffix(b"\n").split(b"\n")
    names = [line.decode() for line in lines if b"\t" not in line]
    values: list[list[bytes]] = [[] for _ in names]
    for line in lines[len(names) :]:
        column, _, value = line.partition(b"\t")
        values[int(column)].append(value)
    return dict(zip(names, values, strict=True))
