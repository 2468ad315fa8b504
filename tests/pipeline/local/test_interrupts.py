"""Ctrl-C between the steps of a run."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline.local.interrupts import Interrupts


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Last:
    """Is interrupted in its destructor, where Python drops what is raised."""

    def __del__(self) -> None:
        press()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_interrupt_that_python_drops_is_heeded_at_the_next_step() -> None:
    with Interrupts() as interrupts:
        interrupts.check()
        last = Last()
        del last
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_is_raised_at_once_too() -> None:
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        press()


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupts() as interrupts:
            press()
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before)
