"""From `setup.py` to the lock: exact versions and hashes for every platform at once.

`python3 -m pipeline.install.relock` keeps the versions that are locked where the
requirements still allow them; with `--upgrade` it takes the newest ones.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.install.uv_tool import Uv, find_or_fetch
from serving.errors import UserError

__all__ = ["main"]

_LOCKS = (
    (
        "requirements/lock.txt",
        ("setup.py", "--all-extras", "--overrides", "requirements/overrides.txt"),
    ),
    ("requirements/uv.txt", ("requirements/uv.in",)),
    ("requirements/ziglang.txt", ("requirements/ziglang.in",)),
)
# No index is written down: the same lock serves whatever mirror a machine is told to use.
_COMMON = (
    "--quiet",
    "--universal",
    "--python-version=3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
)


def main(arguments: Sequence[str]) -> int:
    """Writes all lock files anew; arguments are passed on to `uv pip compile`."""
    root = Path(__file__).resolve().parents[2]
    os.chdir(root)
    os.environ["UV_CUSTOM_COMPILE_COMMAND"] = "make lock"
    try:
        uv = find_or_fetch(root / ".cache" / "uv", root / "requirements" / "uv.txt")
        for target, sources in _LOCKS:
            _compile(uv, target, sources, arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _compile(uv: Uv, target: str, sources: Sequence[str], arguments: Sequence[str]) -> None:
    uv.run("pip", "compile", *sources, *_COMMON, *arguments, "--output-file", target)
    pins = sum("==" in line for line in Path(target).read_text(encoding="utf-8").splitlines())
    print(f"{target}: {pins} packages")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
