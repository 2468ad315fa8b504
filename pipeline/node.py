"""What runs inside a task on Kubeflow: `python -m pipeline.node --nodes … --executor-input …`.

Only the standard library is imported here; every pod pays for what is.
Exit codes: 0 done, 3 stopped by a gate, 2 bad input, 1 anything else. The last line says why.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

__all__ = ["Preempted", "main"]

_PROJECT = "/project"
_PROGRESS_EVERY_S = 15.0


class Preempted(Exception):  # noqa: N818  (it is not an error)
    """The pod was told to end; TFX records the step as failed and removes its outputs."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one task and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.node",
        description="Runs the nodes of one Kubeflow task through TFX's Launcher.",
    )
    parser.add_argument("--nodes", required=True, help="the task's part of the pipeline, encoded")
    parser.add_argument("--executor-input", required=True, help="Kubeflow's ExecutorInput as JSON")
    parser.add_argument(
        "--gate", action="append", default=[], help="task/node whose verdict must let the run pass"
    )
    parser.add_argument(
        "--mask", action="append", default=[], help="a column whose values are not shown"
    )
    options = parser.parse_args(arguments)
    # TFX hands what is left in sys.argv to Beam.
    del sys.argv[1:]
    _log_to_stdout()
    signal.signal(signal.SIGTERM, _preempted)
    project = os.environ.get("KUBETFX_PROJECT", _PROJECT)
    sys.path.insert(0, project)
    data_root = ""
    try:
        from pipeline.kubeflow import parameters, step
        from pipeline.kubeflow.executor_io import ExecutorInput

        given = ExecutorInput.parse(options.executor_input)
        data_root = given.text(parameters.DATA_ROOT)
        step.run_task(options.nodes, options.gate, given, options.mask)
    except Exception as error:  # noqa: BLE001  (the last place where it can be told)
        return _tell(error, Path(project), data_root)
    return 0


def _tell(error: Exception, project: Path, data_root: str) -> int:
    """Prints the reason as the last line."""
    from pipeline import failure
    from pipeline.kubeflow import full_disk
    from pipeline.kubeflow.step import NodeError
    from serving.errors import GateStop, UserError

    node = "of this task"
    if isinstance(error, NodeError) and isinstance(error.__cause__, Exception):
        node, error = error.node, error.__cause__
    if isinstance(error, Preempted):
        return _say(f"step {node}: the pod was told to end; a retry continues here", 143)
    if isinstance(error, GateStop):
        # Nothing broke: a traceback would only hide the sentence.
        told: UserError = error
    else:
        error = full_disk.explain(error, node, data_root) or error
        told = failure.explain(error, node, Path("the log above"), project)
    what = "; ".join(line.strip() for line in told.what.splitlines())
    what += "" if what.endswith((".", "!", "?")) else "."
    return _say(f"{what} Expected: {told.expected}. Fix: {told.fix}", told.exit_code)


def _say(sentence: str, code: int) -> int:
    logging.shutdown()
    sys.stderr.flush()
    print(f"STOPPED (exit code {code}): {' '.join(sentence.split())}", flush=True)
    return code


def _preempted(number: int, frame: FrameType | None) -> NoReturn:
    # Once: a second signal while outputs are removed must not cut that short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Preempted


def _log_to_stdout() -> None:
    """Our own lines at INFO, the libraries' from WARNING, progress every few seconds."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("GLOG_minloglevel", "2")
    logging.basicConfig(
        stream=sys.stdout,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in ("pipeline", "components", "serving", "kubetfx"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("kubetfx.progress").addFilter(_Occasionally())


class _Occasionally(logging.Filter):
    """Lets a progress line pass every few seconds, and writes its count."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self._last < _PROGRESS_EVERY_S:
            return False
        self._last = now
        done, total = getattr(record, "done", None), getattr(record, "total", None)
        if done is not None:
            of = f" of {total:,}" if total else ""
            record.msg = f"{record.getMessage()} {done:,}{of} {getattr(record, 'unit', '')}"
            record.args = ()
        return True


if __name__ == "__main__":
    sys.exit(main())
