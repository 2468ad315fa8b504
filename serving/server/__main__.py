"""`python -m serving.server --model_base_path=…`: a server without the rest of the package."""

import argparse
import sys

from serving.errors import UserError
from serving.server.options import ServerOptions, flags
from serving.server.process import run

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Reads flags, serves, gives the exit code."""
    parser = argparse.ArgumentParser("python -m serving.server", description=__doc__)
    for flag in flags():
        if flag.type is bool:
            parser.add_argument(
                f"--{flag.name}", type=_boolean, nargs="?", const=True, default=flag.default
            )
        else:
            parser.add_argument(f"--{flag.name}", type=flag.type, default=flag.default)
    try:
        return run(ServerOptions(**vars(parser.parse_args(arguments))))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _boolean(text: str) -> bool:
    try:
        return {"true": True, "1": True, "false": False, "0": False}[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false") from None


if __name__ == "__main__":
    sys.exit(main())
