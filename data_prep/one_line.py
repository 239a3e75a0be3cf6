"""What the generators' commands share: an error that a user can cure is one line and the exit code 2."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

from .errors import DataPrepError

P = ParamSpec("P")


def one_line_errors(main: Callable[P, int]) -> Callable[P, int]:
    """``main``, with errors printed behind the name of its file."""
    name = Path(inspect.getfile(main)).stem  # the module itself is called __main__ when it is run

    @wraps(main)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except (DataPrepError, OSError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 2

    return wrapped
