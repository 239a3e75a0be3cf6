"""Command line: ``python -m data_prep [COMMAND] ...``; trouble is one line on stderr.

Exit code 1: done, but some slides failed. 2: refused, nothing was written. 3: stopped half-way, the same command goes
on. 130: Ctrl-C, likewise.

Without the name of a command the whole pipeline runs: ``python -m data_prep EXPORT OUT``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import cv2

from .commands import COMMANDS
from .errors import DataPrepError, InterruptedRun


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        words = ["--help"]
    name = words.pop(0) if words[0] in COMMANDS else "run"
    command = importlib.import_module(f".commands.{name}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"python -m data_prep {name}",
        description=command.HELP,
        epilog=f"Commands: {', '.join(COMMANDS)}; run is the one that needs no name. Each has its own --help.",
    )
    command.add_arguments(parser)
    args = parser.parse_args(words)
    cv2.setNumThreads(1)
    try:
        return command.run(args) or 0
    except InterruptedRun as error:
        print(f"data_prep: {error}; the same command goes on where this one stopped", file=sys.stderr)
        return 3
    except (DataPrepError, OSError) as error:
        print(f"data_prep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("data_prep: stopped by Ctrl-C; the same command goes on where this one stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
