"""`TabularExampleGen`: the node of a graph that reads a table and writes splits of tf.Examples."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.orchestration import data_types
from tfx.types import component_spec, standard_artifacts

from components.example_gen import driver, executor
from components.example_gen.ingestion_plan import PART_BYTES
from components.tables.column_types import ColumnType
from components.tables.csv_table import CsvFormat
from components.tables.expression import Expression
from components.tables.row_splits import RowSplits, SplitPlan, splits_to_json
from components.tables.table_format import TableFormat, format_to_json

__all__ = ["TabularExampleGen"]


class TabularExampleGenSpec(component_spec.ComponentSpec):
    """What goes in and out; the parameters are plain numbers and JSON text."""

    PARAMETERS: ClassVar = {
        "path": component_spec.ExecutionParameter(type=str),
        "table_format": component_spec.ExecutionParameter(type=str),
        "splits": component_spec.ExecutionParameter(type=str),
        "settings": component_spec.ExecutionParameter(type=str),
        "span": component_spec.ExecutionParameter(type=int),
        "compress": component_spec.ExecutionParameter(type=int),
        "fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS: ClassVar = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)
    }


class TabularExampleGen(base_beam_component.BaseBeamComponent):
    """Reads a table and writes splits of tf.Examples.

    The output `examples` is a standard Examples artifact with `splits`, `span`, `version`,
    `input_fingerprint`, and the counts `rows_<split>` and `rows_dropped_<reason>` as properties.

    Args:
        path: a file, a folder, a glob, `package://PKG/path` or a URL; `{SPAN}`, `{VERSION}` and
            `{YYYY}`, `{MM}`, `{DD}` mark spans. May be a runtime parameter.
        table_format: how the files are read; by default CSV with commas.
        label: the label's column; or, with `label_expression`, its name in the examples. Rows
            without a label are left out.
        label_expression: how the label is computed; see `components.tables.expression`.
        splits: how the rows are divided; by default by their hash, train 2 : eval 1.
        columns: the columns to take; all by default.
        exclude: columns to leave out.
        column_types: columns whose type is given, for example codes of digits that are text.
        known_types: types that a schema gives columns, as far as the data have them: a column of
            fractions stays one where a file happens to hold whole numbers only.
        masked: columns whose values nobody is to see; a name that misses one by a slip is refused.
        span: the span to read, the latest by default. May be a runtime parameter.
        compress: gzips the examples: a third of the space, several times slower.
        part_bytes: how much of the data one worker takes at a time.
        fingerprint: `content` tells changed data by their bytes; `stat` by size and time, for
            data too big to be read once more.

    Raises:
        UserError: a label expression that is none.
    """

    SPEC_CLASS = TabularExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)
    DRIVER_CLASS = driver.Driver

    def __init__(
        self,
        path: str | data_types.RuntimeParameter,
        *,
        table_format: TableFormat | None = None,
        label: str | None = None,
        label_expression: str | None = None,
        splits: SplitPlan | None = None,
        columns: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        column_types: Mapping[str, ColumnType] | None = None,
        known_types: Mapping[str, ColumnType] | None = None,
        masked: Sequence[str] = (),
        span: int | data_types.RuntimeParameter | None = None,
        compress: bool = False,
        part_bytes: int = PART_BYTES,
        fingerprint: str = "content",
    ) -> None:
        if label_expression is not None:
            if label is None:
                raise ValueError("label_expression needs label, the name of the label")
            Expression.parse(label_expression, "label")
        if fingerprint not in ("content", "stat"):
            raise ValueError(f"fingerprint is {fingerprint!r}, not 'content' or 'stat'")
        settings: dict[str, Any] = {
            "label": None if label is None else {"name": label, "expression": label_expression},
            "columns": None if columns is None else list(columns),
            "exclude": list(exclude),
            "types": dict(column_types or {}),
            **({"known_types": dict(known_types)} if known_types else {}),
            **({"masked": list(masked)} if masked else {}),
            "part_bytes": part_bytes,
        }
        plan = splits or RowSplits({"train": 2, "eval": 1})
        super().__init__(
            spec=TabularExampleGenSpec(
                path=path,
                table_format=format_to_json(table_format or CsvFormat()),
                splits=splits_to_json(plan),
                settings=json.dumps(settings, sort_keys=True),
                span=driver.LATEST if span is None else span,
                compress=int(compress),
                fingerprint=fingerprint,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )
