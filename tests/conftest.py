"""What every test may rely on: quiet native libraries, no accelerator, and a heeded Ctrl-C."""

import os
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
# A shell starts what it runs in the background with SIGINT ignored, and that is inherited by the
# commands whose interruption is tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
