"""Leaves out of standard error what TensorFlow says of itself whenever it starts.

Its notices that oneDNN is on and that there is no GPU come before it obeys any setting, and look
like faults. They are taken out by a small process between, which this file is too when it is run:
it passes on all else, a crash's last words included, for it outlives the process that crashed.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["StartFilter", "has_gpu", "is_notice"]

_GPU_FILES = (("/dev", "nvidia[0-9]*"), ("/dev", "nvidiactl"), ("/dev", "dxg"))
_CHATTER = re.compile(
    rb"I\d{4} \d\d:\d\d:|WARNING: All log messages before absl::InitializeLog\(\)"
)
_NO_GPU = re.compile(rb"E\d{4} \d\d:\d\d:.* failed call to cuInit: ")
_WITH_GPU = "--gpu"


def has_gpu() -> bool:
    """Whether the system shows a device that CUDA could use."""
    return any(any(Path(folder).glob(name)) for folder, name in _GPU_FILES)


def is_notice(line: bytes, *, gpu: bool) -> bool:
    """Whether a line of standard error is no news.

    Args:
        line: one line.
        gpu: whether there is a GPU, so that a failure to use it is an error.
    """
    return bool(_CHATTER.match(line) or (not gpu and _NO_GPU.match(line)))


class StartFilter:
    """The process between this one's standard error and the real one, until `end`.

    It does nothing where TensorFlow's notices are wished for (TF_CPP_MIN_LOG_LEVEL=0), or where no
    process can be started.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
            return
        command = [sys.executable, "-IS", __file__, *([_WITH_GPU] if has_gpu() else [])]
        with contextlib.suppress(OSError):
            # It keeps standard output open too: whoever waits for its end has all of the log then.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        if self._process is not None and self._process.stdin is not None:
            self._real = os.dup(2)
            os.dup2(self._process.stdin.fileno(), 2)
            self._process.stdin.close()

    def end(self) -> None:
        """Lets standard error be the real one again, once all that was written is passed on."""
        if self._process is None:
            return
        sys.stderr.flush()
        os.dup2(self._real, 2)
        os.close(self._real)
        # A process that a model has started may hold the pipe for longer; that one goes on.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._process = None


def _pass_on() -> None:
    """Copies standard input to standard error, line by line, without the notices."""
    for number in (signal.SIGINT, signal.SIGTERM):  # it ends when there is nothing left to read
        signal.signal(number, signal.SIG_IGN)
    gpu = _WITH_GPU in sys.argv
    for line in sys.stdin.buffer:
        if not is_notice(line, gpu=gpu):
            # Nobody may read any more; the server must be able to write nevertheless.
            with contextlib.suppress(OSError):
                os.write(2, line)


if __name__ == "__main__":
    _pass_on()
