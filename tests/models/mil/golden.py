"""Reading golden data for the tests of heads."""

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


class Golden:
    """Arrays as tensors, and ``close`` at the tolerance that the json names."""

    def __init__(self, folder: Path, name: str) -> None:
        self.info = json.loads((folder / f"{name}.json").read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            self.arrays = {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}

    def __getitem__(self, key: str) -> Tensor:
        return self.arrays[key]

    def close(self, found: Tensor, key: str) -> None:
        expected = self.arrays[key]
        torch.testing.assert_close(found.detach(), expected, **self.info["tolerance"], check_dtype=False)

    def load(self, module: nn.Module, names: dict[str, str], prefix: str = "w.") -> None:
        """All weights of the file into ``module``, each name's longest matching beginning replaced by ``names``."""
        state = {}
        for key in [key.removeprefix(prefix) for key in self.arrays if key.startswith(prefix)]:
            old = max((old for old in names if key.startswith(old)), key=len)
            state[names[old] + key.removeprefix(old)] = self.arrays[prefix + key]
        module.load_state_dict(state)
