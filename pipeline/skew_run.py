"""Looks for skew on this machine: the skew graph's nodes in order, in the output of the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline import chatter, failure, graph, local_run, run_record, skew_graph
from pipeline.step_board import StepBoard
from serving.errors import GateStop, UserError

if TYPE_CHECKING:
    from components.gate_verdict import Verdict
    from pipeline.config import Project
    from pipeline.local_run import RunResult

__all__ = ["SkewResult", "run"]


@dataclass(frozen=True)
class SkewResult:
    """What came out.

    Attributes:
        run: the run, as its summary tells it.
        version: the version whose requests were compared.
        verdict: distances and findings.
        stop: the error that the gate ends the run with; None without skew.
    """

    run: RunResult
    version: int
    verdict: Verdict
    stop: GateStop | None


def run(
    project: Project, output: Path, captured: Path, console: Console, *, version: int = 0
) -> SkewResult:
    """Compares captured requests with the training data of the version that answered them.

    Args:
        project: the pipeline whose model was served.
        output: the folder of its runs, whose metadata are looked into and added to.
        captured: the folder that the server captured to.
        console: where steps are shown.
        version: whose requests; 0 for the latest with enough of them.

    Raises:
        UserError: nothing has run there, nothing was captured, or a step failed.
    """
    folder = output.expanduser().resolve()
    if not (folder / "metadata.sqlite").exists():
        raise UserError(
            f"{output}: there is no metadata.sqlite, so no run that made a version.",
            expected="the output folder of the run whose model was served",
            fix="name it with --output",
        )
    with local_run.locked(folder):
        result = local_run.RunResult(local_run.new_run_id(), skew_graph.name_of(project))
        run_folder = folder / "runs" / result.run_id
        run_folder.mkdir(parents=True)
        result.record = run_record.describe(project)
        result.places = {"log": str(run_folder / "run.log")}
        is_terminal, width = console.is_terminal, console.width
        with chatter.redirected_to(run_folder / "run.log") as screen:
            shown_on = local_run.board_console(
                console, screen, is_terminal=is_terminal, width=width
            )
            values: dict[str, int | str] = {
                skew_graph.CAPTURED: str(captured.expanduser().resolve()),
                skew_graph.VERSION: version,
            }
            try:
                return _run_nodes(project, folder, result, shown_on, values)
            finally:
                local_run.write_summary(run_folder, result, shown_on)


def _run_nodes(
    project: Project,
    folder: Path,
    result: RunResult,
    console: Console,
    values: dict[str, int | str],
) -> SkewResult:
    locations = graph.Locations(
        artifacts=str(folder / "artifacts"), push=local_run.push_folder(project, folder)
    )
    with StepBoard(console, ["prepare", *skew_graph.STEPS]) as board:
        board.start("prepare", "loading TFX")
        try:
            ir = graph.cached_ir(project, locations, folder / ".graphs", skew_graph.build_ir)
            from ml_metadata import MetadataStore

            from components.captured_examples import SERVED_VERSION
            from pipeline import gate_stop, launch, metadata, run_history

            connection = metadata.sqlite_connection(folder / "metadata.sqlite")
            metadata.abandon_unfinished(MetadataStore(connection), folder / "artifacts")
            bound = launch.bind(ir, result.run_id, values)
        except Exception as error:
            board.finish("failed")
            log = Path(result.places["log"])
            raise failure.explain(error, "prepare", log, project.folder) from error
        board.finish("done", "graph and metadata")
        result.outcome, stop = "no_skew", None
        try:
            for node in launch.node_ids(bound):
                board.start(node)
                local_run.run_node(node, bound, connection, project, result, board)
        except GateStop as error:
            stop = error
    # The gate's own step has succeeded: what it found is recorded, also where it stops the run.
    recorded = run_history.find_run(folder, result.run_id)
    step, examples = recorded.step("skew"), recorded.output("captured", "examples")
    verdict = gate_stop.verdict_of(step) if step is not None else None
    assert verdict is not None
    assert examples is not None
    return SkewResult(result, int(examples.properties[SERVED_VERSION]), verdict, stop)
