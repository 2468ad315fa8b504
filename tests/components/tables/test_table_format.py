import pytest

from components.tables.csv_table import CsvFormat
from components.tables.parquet_table import ParquetFormat
from components.tables.table_format import (
    TableFormat,
    format_from_json,
    format_from_settings,
    format_to_json,
)
from serving.errors import UserError


@pytest.mark.parametrize(
    "table_format",
    [
        CsvFormat(),
        CsvFormat(delimiter="\t", missing_values=("", "NA"), column_names=("a", "b")),
        ParquetFormat(),
    ],
)
def test_a_format_survives_as_text(table_format: TableFormat) -> None:
    assert format_from_json(format_to_json(table_format)) == table_format


def test_unknown_formats_and_settings_are_answered_with_the_nearest() -> None:
    with pytest.raises(UserError, match=r"data\.format is 'parket'") as caught:
        format_from_settings("parket", {})
    assert caught.value.fix == "did you mean 'parquet'?"
    with pytest.raises(UserError, match="no setting 'delimeter'") as caught:
        format_from_settings("csv", {"delimeter": ";"})
    assert caught.value.fix == "did you mean 'delimiter'?"
    with pytest.raises(UserError, match="no setting 'delimiter'"):
        format_from_settings("parquet", {"delimiter": ";"})
