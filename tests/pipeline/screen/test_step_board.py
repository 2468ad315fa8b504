"""The lines of a run, on a terminal and in a log."""

import io
import logging

from rich.console import Console

from pipeline.screen.step_board import PROGRESS_LOGGER, StepBoard


def board_on(terminal: bool) -> tuple[StepBoard, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False)
    return StepBoard(console, ["examples", "trainer"]), stream


def test_log_gets_one_plain_line_per_step() -> None:
    board, stream = board_on(terminal=False)
    with board:
        board.start("examples")
        seconds = board.finish("done", "15,002 rows")
        board.start("trainer")
        board.finish("cached", "1,000 steps")
        board.start("trainer")
        board.finish("failed", "no such column " + "x" * 200)
        board.start("trainer")
        board.finish("done", "not blessed", refused=True)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("✓ examples")
    assert lines[0].endswith("s  15,002 rows")
    assert lines[1].endswith("cached  1,000 steps")
    assert lines[2].endswith("x" * 200)
    assert lines[3].startswith("■ trainer")
    assert len(lines) == 4
    assert "\x1b" not in stream.getvalue()
    assert 0 <= seconds < 1


def test_terminal_shows_the_progress_of_the_running_step() -> None:
    board, stream = board_on(terminal=True)
    logger = logging.getLogger(PROGRESS_LOGGER)
    with board:
        board.start("trainer")
        logger.info("training", extra={"done": 350, "total": 1000, "unit": "steps"})
        assert board._live is not None
        board._live.refresh()
        board.finish("done", "1,000 steps")
        logger.info("late", extra={"done": 1})
    assert "350 of 1,000 steps" in stream.getvalue()
    assert not logger.handlers
