"""One draw of a random pipeline for many images: the slices of a study are turned and brightened alike.

Used by `medkit.ImageBagDataset`. Command: ``python -m pytest tests/data/test_image_bags.py``.
"""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

State = tuple[Any, Any, torch.Tensor]


def random_state() -> State:
    """Where the global generators of Python, NumPy and torch (CPU) stand."""
    return random.getstate(), np.random.get_state(), torch.get_rng_state()


def set_random_state(state: State) -> None:
    """Put them back."""
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])


def replayed(transform: Callable[[dict], dict], items: Iterable[dict]) -> list[dict]:
    """``transform`` of each item, every one with the same random numbers; the next call has others.

    The draw is the same where the items ask for the same numbers; of images that differ in size, random crops may not.
    """
    state, out = random_state(), []
    for item in items:
        set_random_state(state)
        out.append(transform(item))
    return out


def replays(transform: Callable[[dict], dict], item: dict, tries: int = 4) -> bool:
    """Whether the transform repeats itself from one state: False if it draws from a generator of its own.

    A transform that acts rarely may pass. The global generators are afterwards as before.
    """
    state = random_state()
    try:
        pairs = [[one["img"] for one in replayed(transform, (dict(item), dict(item)))] for _ in range(tries)]
    finally:
        set_random_state(state)
    return all(np.array_equal(first, second) for first, second in pairs)
