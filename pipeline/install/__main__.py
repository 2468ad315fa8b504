"""`python3 -m pipeline.install`: sets up what is missing, with any Python 3 to start from."""

from __future__ import annotations

import os
import sys

from pipeline.install import interpreter


def main() -> int:
    """Hands over to a supported Python when this one is not, then sets up."""
    if interpreter.is_supported():
        from pipeline.install import environment

        return environment.main(sys.argv[1:])
    supported = interpreter.find_supported()
    if supported is not None:
        os.execv(supported, [supported, "-m", "pipeline.install", *sys.argv[1:]])
    version = ".".join(str(part) for part in sys.version_info[:3])
    print(
        f"{sys.executable} is Python {version} and there is no other one on PATH that fits\n"
        "  expected: Python 3.11, 3.12 or 3.13\n"
        "  fix: install one (apt-get install python3.11 on Debian 12, python3.12 on Ubuntu 24.04,"
        " python3.13 on Debian 13), or name one: make setup PYTHON=/path/to/python3.12",
        file=sys.stderr,
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
