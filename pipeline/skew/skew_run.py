"""Looks for skew on this machine: the skew graph's nodes in order, in the output of the runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline import chatter, failure, graph, graph_cache
from pipeline.history.run_source import STORE_FILE, RunSource
from pipeline.local import local_run, run_record
from pipeline.screen.step_board import StepBoard
from pipeline.skew import skew_graph
from pipeline.writable_folder import make_writable
from serving.errors import GateStop

if TYPE_CHECKING:
    from components.gates.gate_verdict import Verdict
    from pipeline.config import Project
    from pipeline.local.local_run import RunResult

__all__ = ["Look", "SkewResult", "run"]


@dataclass(frozen=True)
class Look:
    """What is looked at.

    Attributes:
        captured: the folder that the server captured to.
        version: whose requests; 0 for the latest with enough of them.
        versions: folder or URL of the served versions; empty for where the project's runs push.
        metadata_url: the store that knows the run which made the version; empty for the output's.
    """

    captured: Path
    version: int = 0
    versions: str = ""
    metadata_url: str = ""


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


def run(project: Project, output: Path, look: Look, console: Console) -> SkewResult:
    """Compares captured requests with the training data of the version that answered them.

    Args:
        project: the pipeline whose model was served.
        output: the folder of its runs; what the look makes goes there.
        look: what is looked at.
        console: where steps are shown.

    Raises:
        UserError: nothing has run there, nothing was captured, or a step failed.
    """
    folder = output.expanduser().resolve()
    if not look.metadata_url and not (folder / STORE_FILE).exists():
        raise RunSource(output).nothing()
    folder = make_writable(output, "--output", "the output folder")
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
            try:
                return _run_nodes(project, folder, result, shown_on, look)
            finally:
                local_run.write_summary(run_folder, result, shown_on, look.metadata_url)


def _run_nodes(
    project: Project,
    folder: Path,
    result: RunResult,
    console: Console,
    look: Look,
) -> SkewResult:
    locations = graph.Locations(
        artifacts=str(folder / "artifacts"), push=local_run.push_folder(project, folder)
    )
    with StepBoard(console, ["prepare", *skew_graph.STEPS]) as board:
        board.start("prepare", "loading TFX")
        try:
            ir = graph_cache.cached_ir(project, locations, folder / ".graphs", skew_graph.build_ir)
            from ml_metadata import MetadataStore

            from components.gates.captured_examples import SERVED_VERSION
            from pipeline.history import run_history
            from pipeline.launching import gate_stop, launch, metadata

            if look.metadata_url:
                connection = metadata.connection(look.metadata_url)
            else:
                connection = metadata.sqlite_connection(folder / STORE_FILE)
                # In a store of one's own nothing else can be running.
                metadata.abandon_unfinished(MetadataStore(connection), folder / "artifacts")
            bound = launch.bind(ir, result.run_id, _parameters(look))
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
    source = RunSource(folder, look.metadata_url)
    recorded = run_history.find_run(source, result.run_id)
    step, examples = recorded.step("skew"), recorded.output("captured", "examples")
    verdict = gate_stop.verdict_of(step) if step is not None else None
    assert verdict is not None
    assert examples is not None
    return SkewResult(result, int(examples.properties[SERVED_VERSION]), verdict, stop)


def _parameters(look: Look) -> dict[str, int | str]:
    values: dict[str, int | str] = {
        skew_graph.CAPTURED: str(look.captured.expanduser().resolve()),
        skew_graph.VERSION: look.version,
    }
    return {**values, skew_graph.VERSIONS: look.versions} if look.versions else values
