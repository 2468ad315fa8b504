"""How shares are written."""

import pytest

from components.gates.gate_findings import percent


@pytest.mark.parametrize(
    ("fraction", "written"),
    [
        (0, "0 %"),
        (1e-9, "below 0.01 %"),
        (1e-4, "0.01 %"),
        (0.0101, "1 %"),
        (0.031, "3.1 %"),
        (0.5, "50 %"),
        (10_074 / 10_075, "99.99 %"),
        (1 - 1e-9, "over 99.99 %"),
        (1.0, "100 %"),
    ],
)
def test_few_do_not_read_as_none_nor_most_as_all(fraction: float, written: str) -> None:
    assert percent(fraction) == written
