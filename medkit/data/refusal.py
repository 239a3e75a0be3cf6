"""Refusing a list that holds something wrong, in one line: shared by the readers of sets.

Used by ``python tools/train.py`` before the first step.
"""

from collections.abc import Iterable

from medkit.errors import DatasetError


def doubled(values: Iterable[str]) -> list[str]:
    """Those that came before."""
    seen: set[str] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def refuse(wrong: Iterable[str], what: str, expected: str) -> None:
    """Raise if there is anything in ``wrong``: ``what``, the first in order, how many more, ``expected``.

    Raises:
        DatasetError: ``wrong`` is not empty.
    """
    names = sorted(wrong)
    if names:
        others = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
        raise DatasetError(f"{what} {names[0]!r}{others}: {expected}")
