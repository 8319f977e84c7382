"""The command line: arguments in, one library call, text out. A notebook can make the same calls."""

from __future__ import annotations

import os
import sys

from nasplat.cli.app import app
from nasplat.errors import NasplatError

__all__ = ["app", "main"]

# GNU OpenMP lets a thread spin for milliseconds where another one is late. Two workers on one machine then stood in
# each other's way until a step took 40 times as long; a shorter spin costs nothing on a quiet machine. The setting
# must be there before torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main() -> None:
    """Run a command. A user's mistake, or a file that cannot be used, is one line on the error stream and exit code 1.

    `--debug`, anywhere among the arguments, shows the traceback instead.
    """
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(arguments)
    except (NasplatError, OSError) as error:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write(f"nasplat: {error}\n")
        sys.exit(1)
