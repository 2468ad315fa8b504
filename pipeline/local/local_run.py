"""One run of a pipeline on this machine: every node in order, in this process.

    <output>/
        metadata.sqlite       TFX's metadata: executions, artifacts, lineage
        artifacts/<step>/…    payloads
        runs/<run id>/        run.log, summary.json, report.html
        serving/<model>/<n>/  pushed versions (unless push.directory says otherwise)

A run that is killed continues when it is started again: finished steps are answered from TFX's
cache, the one that was cut off is cleaned up and runs anew.
"""

from __future__ import annotations

import datetime
import fcntl
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from pipeline import chatter, failure
from pipeline.launching.steps import STEPS
from pipeline.local import run_record
from pipeline.screen.step_board import StepBoard
from pipeline.writable_folder import make_writable
from serving.errors import GateStop, UserError

if TYPE_CHECKING:
    from pipeline.config import Project
    from pipeline.launching.launch import NodeOutcome
    from pipeline.local.serve_check import ServeCheck

__all__ = [
    "RunResult",
    "StepResult",
    "board_console",
    "locked",
    "new_run_id",
    "push_folder",
    "run",
    "run_node",
    "write_summary",
]

# Shown like steps, but no nodes of the graph.
_PREPARE = "prepare"
_SERVE_CHECK = "serve check"


@dataclass(frozen=True)
class StepResult:
    """One line of the run. Units: `seconds` in s."""

    name: str
    state: str
    seconds: float
    detail: str


@dataclass
class RunResult:
    """What a run came to; `summary.json` holds the same.

    Attributes:
        run_id: names the run in the metadata and its folder.
        outcome: `pushed`, `not_blessed` by the evaluation, `not_pushed` for another reason,
            `stopped` by a gate, `failed`, or `interrupted` by hand.
        steps: in the order of the graph.
        besides: what else took time, before and after the steps. Unit: seconds.
        evaluation: the evaluator's summary.
        infra: the infra validator's summary.
        reason: why nothing was pushed.
        serve_check: what the pushed version answered, if it was asked.
        pushed: version and folder of the served model.
        metrics: names of the metrics, in the order they are shown.
        failure: the step that ended the run early, and the three clauses that say why.
        record: configuration, code and versions.
        places: where things are.
    """

    run_id: str
    pipeline: str
    metrics: tuple[str, ...] = ()
    outcome: str = "not_blessed"
    steps: list[StepResult] = field(default_factory=list)
    besides: dict[str, float] = field(default_factory=dict)
    evaluation: dict[str, Any] | None = None
    infra: dict[str, Any] | None = None
    reason: str = ""
    serve_check: ServeCheck | None = None
    pushed: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None
    record: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 pushed, 3 stopped by a gate."""
        return 0 if self.outcome == "pushed" else 3


def run(
    project: Project, output: Path, console: Console, *, serve_check: bool | None = None
) -> RunResult:
    """Runs the pipeline, showing each step on `console`.

    Args:
        project: the pipeline.
        output: folder for everything that the run makes.
        console: where steps are shown; the run sends the libraries' own output to a log.
        serve_check: whether the pushed version is served and asked at the end; by default if
            this run pushed it.

    Raises:
        UserError: the input can't be used, the output can't be written, or a step failed.
    """
    folder = make_writable(output, "--output", "the output folder")
    run_id = new_run_id()
    with locked(folder):
        run_folder = folder / "runs" / run_id
        run_folder.mkdir(parents=True)
        log = run_folder / "run.log"
        result = RunResult(run_id, project.config.name, project.config.metrics)
        result.record = run_record.describe(project)
        result.places = {
            "log": str(log),
            "artifacts": str(folder / "artifacts"),
            "metadata": str(folder / "metadata.sqlite"),
        }
        # Asked before stdout is sent to the log, which is no terminal and has no width.
        is_terminal, width = console.is_terminal, console.width
        with chatter.redirected_to(log) as screen:
            shown_on = board_console(console, screen, is_terminal=is_terminal, width=width)
            try:
                _run_nodes(project, folder, result, shown_on, serve_check)
            finally:
                write_summary(run_folder, result, shown_on)
    return result


def board_console(console: Console, screen: Any, *, is_terminal: bool, width: int) -> Console:
    """Makes a console for the steps where stdout is sent to a log.

    Args:
        console: what it is to look like.
        screen: the stream that stdout was before.
        is_terminal: whether that was one.
        width: of it. Unit: letters.
    """
    return Console(
        file=screen,
        force_terminal=is_terminal,
        width=width,
        no_color=console.no_color,
        quiet=console.quiet,
        highlight=False,
    )


def write_summary(
    run_folder: Path, result: RunResult, console: Console, metadata_url: str = ""
) -> None:
    """Writes summary and report; where that fails it is told, the run's end stays what it was."""
    try:
        text = json.dumps(asdict(result), indent=1, default=str)
        (run_folder / "summary.json").write_text(text + "\n")
        if not result.steps:
            return
        from pipeline.report.page import write_report

        result.places["report"] = str(write_report(run_folder, metadata_url))
        if result.failure:
            console.print(f"report     {result.places['report']}", soft_wrap=True)
    except Exception:
        logging.getLogger(__name__).exception("the report was not written")
        console.print("the report was not written: the log says why", style="yellow")


def _run_nodes(
    project: Project,
    folder: Path,
    result: RunResult,
    console: Console,
    serve_check: bool | None,
) -> None:
    outcomes: dict[str, NodeOutcome] = {}
    sys.path.insert(0, str(project.folder))
    with StepBoard(console, [_PREPARE, *STEPS, _SERVE_CHECK]) as board:
        board.start(_PREPARE, "loading TFX")
        try:
            ir, connection = _prepare(project, folder, result.run_id)
        except KeyboardInterrupt:
            _interrupted(_PREPARE, result, board)
            raise
        except Exception as error:
            board.finish("failed")
            log = Path(result.places["log"])
            raise failure.explain(error, _PREPARE, log, project.folder) from error
        result.besides[_PREPARE] = board.finish("done", "graph and metadata")
        node = _PREPARE
        try:
            from pipeline.launching import launch

            for node in launch.node_ids(ir):
                board.start(node)
                outcomes[node] = run_node(node, ir, connection, project, result, board)
                _note(result, outcomes[node])
        except KeyboardInterrupt:
            if result.outcome != "interrupted":
                _interrupted(node, result, board)
            from ml_metadata import MetadataStore

            from pipeline.launching import metadata

            metadata.abandon_unfinished(MetadataStore(connection), folder / "artifacts")
            raise
        is_new = outcomes["pusher"].state == "done"
        if result.pushed is not None and (is_new if serve_check is None else serve_check):
            _check_serving(project, result, outcomes["examples"], board)


def run_node(
    node: str, ir: Any, connection: Any, project: Project, result: RunResult, board: StepBoard
) -> NodeOutcome:
    """Launches one node and ends its line on the board, however it ends."""
    from pipeline.launching import gate_stop, launch, step_facts

    log = Path(result.places["log"])
    try:
        outcome = launch.launch(ir, node, connection)
        gate_stop.require_passed(outcome)
    except KeyboardInterrupt:
        _interrupted(node, result, board)
        raise
    except (Exception, SystemExit) as error:
        asked = failure.contracts(project)
        told = failure.explain(error, node, log, project.folder, asked)
        result.outcome = "stopped" if isinstance(told, GateStop) else "failed"
        detail = told.what.splitlines()[0]
        seconds = board.finish(result.outcome, detail)
        result.steps.append(StepResult(node, result.outcome, round(seconds, 2), detail))
        clauses = {"what": told.what, "expected": told.expected, "fix": told.fix}
        result.failure = {"step": node, **clauses}
        raise told from error
    detail = step_facts.describe(outcome, connection)
    seconds = board.finish(outcome.state, detail, refused=step_facts.is_refusal(outcome))
    result.steps.append(StepResult(node, outcome.state, round(seconds, 2), detail))
    if outcome.state == "failed":
        raise failure.StepFailure(
            f"step {node} failed before it started: its inputs were not there.",
            expected="the outputs of the steps before it",
            fix=f"read {log}; if artifacts were deleted, remove the output folder",
        )
    return outcome


def _interrupted(step: str, result: RunResult, board: StepBoard) -> None:
    """Notes where the run was ended by hand."""
    if not board.is_running:
        board.start(step)
    board.finish("stopped", "interrupted; a new run continues here")
    result.outcome = "interrupted"
    result.failure = {
        "step": step,
        "what": f"the run was interrupted in step {step}.",
        "expected": "a run to its end",
        "fix": "start it again: it continues with this step",
    }


def _check_serving(
    project: Project, result: RunResult, examples: NodeOutcome, board: StepBoard
) -> None:
    """Asks the pushed version about real rows; what goes wrong is told and changes nothing."""
    from pipeline.local import serve_check

    data = examples.output("examples")
    assert data is not None
    assert result.pushed is not None
    board.start(_SERVE_CHECK, "starting the model server")
    try:
        result.serve_check = serve_check.check(
            Path(result.pushed["folder"]),
            project.config.name,
            [f"{data.uri}/Split-eval"],
            project.config.problem.raw_columns if project.config.problem else (),
            project.config.label.name,
        )
    except KeyboardInterrupt:
        board.finish("stopped", f"interrupted; version {result.pushed['version']} is pushed")
        raise
    result.besides[_SERVE_CHECK] = board.finish(
        "skipped" if result.serve_check.trouble else "done", result.serve_check.sentence
    )


def _prepare(project: Project, folder: Path, run_id: str) -> tuple[Any, Any]:
    """Builds or loads the graph, opens the metadata and clears what a killed run left."""
    from pipeline import graph, graph_cache

    locations = graph.Locations(
        artifacts=str(folder / "artifacts"), push=push_folder(project, folder)
    )
    ir = graph_cache.cached_ir(project, locations, folder / ".graphs", graph.build_ir)
    from ml_metadata import MetadataStore

    from pipeline.launching import infra_retry, launch, metadata

    connection = metadata.sqlite_connection(folder / "metadata.sqlite")
    store = MetadataStore(connection)
    metadata.abandon_unfinished(store, folder / "artifacts")
    bound = launch.bind(ir, run_id)
    infra_retry.try_again_if_measured(bound, store)
    return bound, connection


def push_folder(project: Project, output: Path) -> str:
    """Names the folder of versions that a run pushes to."""
    directory = project.config.push.directory
    if directory:
        return project.path(directory)
    return str(output / "serving" / project.config.name)


def _note(result: RunResult, outcome: NodeOutcome) -> None:
    """Keeps what the end of the run will tell."""
    from pipeline.launching import step_facts

    if outcome.node == "evaluator":
        result.evaluation = step_facts.evaluation_summary(outcome)
    if outcome.node == "infra_validator":
        result.infra = step_facts.infra_summary(outcome)
    if outcome.node == "pusher":
        pushed = outcome.output("pushed_model")
        if pushed is not None and pushed.properties.get("pushed"):
            result.outcome = "pushed"
            result.pushed = {
                "version": str(pushed.properties.get("pushed_version", "")),
                "folder": str(pushed.properties.get("pushed_destination", "")),
            }
        elif pushed is not None:
            is_blessed = result.evaluation is not None and result.evaluation["blessed"]
            result.outcome = "not_pushed" if is_blessed else "not_blessed"
            result.reason = str(pushed.properties.get("reason", ""))


def new_run_id() -> str:
    """Names a run after the moment at which it starts."""
    return datetime.datetime.now().strftime("%Y%m%dT%H%M%S.%f")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the output for this process; the kernel lets go when the process dies."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another run is writing to {folder}.",
                expected="one run at a time in one output folder",
                fix="wait for it to end, or choose another folder with --output",
            ) from error
        yield
