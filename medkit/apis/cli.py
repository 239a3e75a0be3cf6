"""What the command lines in tools/ share: options and the one-line form of a user's error."""

import argparse
import ast
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from medkit.errors import MedkitError


def one_line_errors(main: Callable[[], None]) -> Callable[[], None]:
    """Run ``main``; print a `MedkitError` as one line and exit with status 2. Other errors keep their traceback."""

    @wraps(main)
    def wrapped() -> None:
        try:
            main()
        except MedkitError as error:
            print(f"error: {_text(error)}", file=sys.stderr)
            raise SystemExit(2) from None

    return wrapped


def _text(error: MedkitError) -> str:
    """The message; an error of a loader's worker carries the worker's traceback before it."""
    text = str(error).strip()
    return text.rsplit(f"{type(error).__name__}: ", 1)[-1] if text.startswith("Caught ") else text


def parse_value(text: str) -> Any:
    """A Python literal where ``text`` is one, ``true/false/none`` in any case, ``a,b`` as a list, else the text itself.

    mmengine's `DictAction` reads no dictionaries and recurses without end on some brackets.
    """
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return [parse_value(part) for part in text.split(",")] if "," in text and text[0] not in "[({" else text


class KeyValues(argparse.Action):
    """Collects ``key=value`` words into a dictionary."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Add the words of one occurrence of the option."""
        settings = dict(getattr(namespace, self.dest) or {})
        for word in values:
            key, equals, value = word.partition("=")
            if not key or not equals:
                parser.error(f"{option_string} {word}: expected key=value, for instance img_size=256")
            settings[key] = parse_value(value)
        setattr(namespace, self.dest, settings)


def common_parser(doc: str) -> argparse.ArgumentParser:
    """Parser with the options of training and testing alike; ``doc``, the tool's docstring, describes it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a config of configs/, or mmdet::... / mmpretrain::...")
    parser.add_argument("--work-dir", help="run folder (default: work_dirs/<config name>)")
    parser.add_argument("--data-root", help="prepared data set: the OUT of `python -m data_prep EXPORT OUT`")
    parser.add_argument("--quick", action="store_true", help="two iterations on tiny images, to see that it runs")
    parser.add_argument("--cfg-options", nargs="+", action=KeyValues, default={}, help="key=value ... to change")
    parser.add_argument("--launcher", choices=("none", "pytorch", "slurm", "mpi"), default="none")
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def parse_args(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the command line and set LOCAL_RANK, which mmengine reads, where the launcher gave it as an option."""
    args = parser.parse_args()
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    return args
