"""From the transform graph and the examples to a checked SavedModel: TFX's `run_fn`."""

import json
import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from trainer.export_check import check_export
from trainer.heads import Head
from trainer.learning import Learner, Schedule
from trainer.model import build_model
from trainer.problem import DataError, Problem, Task
from trainer.rows import LabelSummary, Rows, RowStream, find_files, row_transform
from trainer.signatures import export
from trainer.transform_graph import TransformGraph

if TYPE_CHECKING:
    from tfx.components.trainer.fn_args_utils import FnArgs

__all__ = [
    "CHECK_FILE",
    "HISTORY_FILE",
    "Datasets",
    "choose_head",
    "constant_features",
    "datasets",
    "run_fn",
    "schedule",
]

HISTORY_FILE = "history.json"
"""The course of the training, in the ModelRun artifact; see `History`."""

CHECK_FILE = "export_check.json"
"""How the exported model compares with the trained one, beside the history."""

_CHECKED_ROWS = 1000
_GIB = 2**30

_log = logging.getLogger("kubetfx.trainer")


@dataclass(frozen=True)
class Datasets:
    """The rows of one training.

    Attributes:
        batches: endless, shuffled training batches.
        train_rows: rows in one epoch.
        summary: what the training rows say about the label.
        evaluation: the rows to validate on.
    """

    batches: tf.data.Dataset
    train_rows: int
    summary: LabelSummary
    evaluation: Rows | RowStream


def run_fn(fn_args: "FnArgs") -> None:
    """Trains, exports and checks a model, for TFX's Trainer component.

    `fn_args.custom_config` holds the problem as JSON under `problem`, and `transformed: true` if
    the examples are Transform's output rather than raw. `train_steps` and `eval_steps` override
    the problem's where they are set. `model_run_dir` gets TensorBoard's event files,
    `history.json` and `export_check.json`.

    Raises:
        DataError: If the data cannot be learnt from.
        ExportMismatch: If the exported model does not answer as the trained one.
    """
    problem = Problem.model_validate_json(fn_args.custom_config["problem"])
    transformed = bool(fn_args.custom_config.get("transformed", False))
    stopwatch = _Stopwatch()

    graph = TransformGraph(fn_args.transform_graph_path, problem)
    transform = row_transform(graph, transformed=transformed)
    train = RowStream(find_files(fn_args.train_files), transform)
    evaluation = RowStream(find_files(fn_args.eval_files), transform)
    rows = datasets(problem, graph, train, evaluation, eval_steps=fn_args.eval_steps)
    stopwatch.lap("read")

    head = choose_head(problem, graph, rows.summary)
    model = build_model(problem, graph.id_counts, head.units)
    learner = Learner(problem, model, head, rows.summary)
    plan = schedule(problem, rows.train_rows, fn_args.train_steps)
    history = learner.fit(rows.batches, rows.evaluation, plan, fn_args.model_run_dir)
    stopwatch.lap("train")

    export(fn_args.serving_model_dir, problem, graph, model, head)
    stopwatch.lap("export")
    if transformed:
        _log.info("the export is not checked: transformed examples have no raw columns")
    else:
        check = check_export(
            fn_args.serving_model_dir,
            problem,
            graph,
            lambda examples: head.predict(learner.scores(transform(examples)[0])),
            next(iter(evaluation.examples(_CHECKED_ROWS))),
        )
        _write_json(fn_args.model_run_dir, CHECK_FILE, check.to_dict())
    stopwatch.lap("check")
    document = history.to_dict() | {"seconds": stopwatch.seconds}
    _write_json(fn_args.model_run_dir, HISTORY_FILE, document)


def datasets(
    problem: Problem,
    graph: TransformGraph,
    train: RowStream,
    evaluation: RowStream,
    *,
    eval_steps: int | None = None,
) -> Datasets:
    """Turns files into batches, through memory where the rows fit.

    Args:
        problem: the settings.
        graph: names the classes.
        train: training rows.
        evaluation: rows to validate on.
        eval_steps: read only so many batches of `eval_batch_size` of them.

    Raises:
        DataError: If no training row has a label.
    """
    settings = problem.training
    limit = settings.cache_limit_gib * _GIB
    rows, complete = train.load(limit)
    class_count = len(graph.classes) if problem.task is Task.MULTICLASS else 0
    summary = rows.summarise(problem, class_count)
    unlabelled = int(np.sum(rows.weights == 0))
    if unlabelled:
        _log.warning(
            "%d of %d training rows have no label or weight and are ignored", unlabelled, len(rows)
        )
    if complete:
        train_rows = len(rows)
        batches = rows.shuffled_batches(settings.batch_size, settings.seed)
        for name in constant_features(problem, rows):
            _log.warning(
                "feature %r is empty or the same in all %d training rows and cannot help the model",
                name,
                train_rows,
            )
    else:
        _log.info("the training rows exceed %g GiB and are read anew in each epoch", limit / _GIB)
        train_rows = train.count()
        batches = train.shuffled_batches(
            settings.batch_size, settings.shuffle_buffer, settings.seed
        )
    most = None if eval_steps is None else eval_steps * settings.eval_batch_size
    eval_rows, complete = evaluation.load(limit, most)
    return Datasets(batches, train_rows, summary, eval_rows if complete else evaluation)


def choose_head(problem: Problem, graph: TransformGraph, summary: LabelSummary) -> Head:
    """Turns the task and what is known of the label into the model's end.

    Raises:
        DataError: If there is but one class.
    """
    if problem.task is Task.REGRESSION:
        return Head(problem.task, offset=summary.mean, scale=summary.deviation)
    if problem.task is Task.MULTICLASS and len(graph.classes) < 2:
        raise DataError(
            f"the label {problem.label.name!r} has the single class {graph.classes[0]!r}",
            expected="at least two classes",
            fix="correct the label or the data",
        )
    if problem.task is Task.BINARY and min(summary.class_rows) <= 0:
        raise DataError(
            f"all training rows with a label in {problem.label.name!r} are "
            f"{'positive' if summary.mean > 0 else 'negative'}",
            expected="both 0/1 or true/false, or two values of which label.positive names one",
            fix="correct the label, label.positive or the data",
        )
    return Head(problem.task, classes=graph.classes if problem.task is Task.MULTICLASS else ())


def schedule(problem: Problem, train_rows: int, train_steps: int | None = None) -> Schedule:
    """Turns the training settings into a number of steps.

    Args:
        problem: the settings.
        train_rows: rows in one epoch.
        train_steps: overrides the settings' length.
    """
    settings = problem.training
    per_epoch = train_rows / settings.batch_size
    steps = train_steps or settings.steps or math.ceil((settings.epochs or 1) * per_epoch)
    return Schedule(steps, settings.validate_every_steps or math.ceil(per_epoch), per_epoch)


def constant_features(problem: Problem, rows: Rows) -> list[str]:
    """Names the raw columns whose every transformed feature is the same in all rows."""
    varies: dict[str, bool] = {}
    start = {"dense": 0, "ids": 0}
    for row in problem.transformed_features:
        part = rows.inputs[row.form][:, start[row.form] : start[row.form] + row.width]
        start[row.form] += row.width
        name = row.feature.name
        varies[name] = varies.get(name, False) or bool(np.any(part != part[:1]))
    return [name for name, does in varies.items() if not does]


class _Stopwatch:
    """Takes the time of the phases."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, phase: str) -> None:
        now = time.monotonic()
        self.seconds[phase] = round(now - self._last, 3)
        self._last = now
        _log.info("%s: %.1f s", phase, self.seconds[phase])


def _write_json(directory: str, name: str, document: dict[str, Any]) -> None:
    tf.io.gfile.makedirs(directory)
    with tf.io.gfile.GFile(f"{directory}/{name}", "w") as file:
        json.dump(document, file, indent=2, allow_nan=False)
