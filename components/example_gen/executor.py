"""Runs the ingestion for one span: files → splits of tf.Examples, checked before they appear."""

from __future__ import annotations

import json
import logging
from collections import Counter
from typing import Any

from tfx.dsl.components.base import base_beam_executor

from components.example_gen.beam_steps import add_ingestion
from components.example_gen.driver import COLUMN_TYPES, INHERITED_TYPES
from components.example_gen.encoding import MISSING_LABEL
from components.example_gen.ingestion_plan import IngestionPlan
from components.example_gen.shard_files import TaskReport, UnfinishedFolder
from components.tables.row_splits import split_files
from serving.errors import UserError

__all__ = ["Executor"]

_log = logging.getLogger(__name__)


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples of one span."""

    def Do(  # noqa: N802 (TFX calls it)
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Turns the files that the driver has found into splits of tf.Examples.

        Raises:
            UserError: something in the data or the settings is wrong; no split has been written.
        """
        (examples,) = output_dict["examples"]
        plan = IngestionPlan.from_exec_properties(exec_properties)
        paths = json.loads(exec_properties["span_paths"])
        files = split_files(plan.splits, paths, plan.table_format.suffixes)
        folder = UnfinishedFolder(examples.uri)
        folder.start()
        with self._make_beam_pipeline() as pipeline:
            add_ingestion(pipeline, files, plan, examples.uri)
        folder.raise_mistake()
        reports = folder.read_reports()
        rows, dropped = _totals(reports)
        _check_result(plan, rows, dropped, reports)
        for split in plan.splits.names:
            folder.finish(split, reports, ".gz" if plan.compress else "")
        types = folder.read_columns()
        folder.remove()
        _describe(examples, plan, rows, dropped)
        inherited = json.loads(exec_properties["settings"]).get("inherited_types", {})
        for name, value in ((COLUMN_TYPES, types), (INHERITED_TYPES, inherited)):
            examples.set_string_custom_property(name, json.dumps(value, sort_keys=True))
        # The driver's custom property is what TFX's resolvers read; the property is what
        # StatisticsGen hands on to the statistics.
        examples.span = int(exec_properties.get("span") or 0)
        shown = ", ".join(f"{split} {rows[split]:,}" for split in plan.splits.names)
        _log.info("Examples: %s rows; left out: %s", shown, dict(dropped) or "none")


def _totals(reports: list[TaskReport]) -> tuple[Counter[str], Counter[str]]:
    rows: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for report in reports:
        rows.update(report.rows)
        dropped.update(report.dropped)
    return rows, +dropped


def _check_result(
    plan: IngestionPlan, rows: Counter[str], dropped: Counter[str], reports: list[TaskReport]
) -> None:
    """Refuses examples that nothing could be learnt from.

    Raises:
        UserError: no row has a label, all labels are the same, or a split has no rows.
    """
    if plan.label is not None:
        _check_labels(plan.label.name, rows.total(), dropped, reports)
    empty = [split for split in plan.splits.names if not rows[split]]
    if empty:
        counts = ", ".join(f"{split} {rows[split]:,}" for split in plan.splits.names)
        raise UserError(
            f"data.splits: the split {' and '.join(map(repr, empty))} has no rows ({counts}).",
            expected="rows in every split",
            fix="change the shares or the starts, add data, or remove the split",
        )


def _check_labels(name: str, rows: int, dropped: Counter[str], reports: list[TaskReport]) -> None:
    if not rows:
        raise UserError(
            f"label: none of the {dropped.total():,} rows has a value for {name!r}.",
            expected="rows with a label",
            fix="name another column, or check the expression and missing_values",
        )
    labels = {label for report in reports for label in report.labels}
    if len(labels) < 2:
        raise UserError(
            f"label: {name!r} is {labels.pop()} in all {rows:,} rows.",
            expected="at least two different values to learn from",
            fix="check the expression, or the rows that were selected",
        )


def _describe(
    examples: Any, plan: IngestionPlan, rows: Counter[str], dropped: Counter[str]
) -> None:
    """Writes the counts into the artifact's properties."""
    examples.splits = list(plan.splits.names)
    examples.set_string_custom_property("payload_format", "FORMAT_TF_EXAMPLE")
    for split in plan.splits.names:
        examples.set_int_custom_property(f"rows_{split}", rows[split])
    for reason in {MISSING_LABEL, *dropped}:
        examples.set_int_custom_property(f"rows_dropped_{reason}", dropped[reason])
