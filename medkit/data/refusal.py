"""Refusing a list that holds something wrong, in one line: shared by the readers of sets.

Used by ``python tools/train.py`` before the first step.
"""

from collections.abc import Iterable

from medkit.errors import DatasetError


def doubled(values: Iterable[str]) -> list[str]:
    """Those that came before."""
    seen: set[str] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def complaint(wrong: Iterable[str], what: str, expected: str) -> list[str]:
    """One line if there is anything in ``wrong``: ``what``, the first in order, how many more, ``expected``."""
    names = sorted(wrong)
    others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return [f"{what} {names[0]!r}{others}: {expected}"] if names else []


def refuse(wrong: Iterable[str], what: str, expected: str) -> None:
    """Raise the `complaint`.

    Raises:
        DatasetError: ``wrong`` is not empty.
    """
    refuse_all(complaint(wrong, what, expected))


def refuse_all(complaints: list[str]) -> None:
    """Raise all of them at once, a line each.

    Raises:
        DatasetError: there are any.
    """
    if complaints:
        raise DatasetError("\n       ".join(complaints))
