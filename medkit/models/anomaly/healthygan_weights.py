"""Loads weights of HealthyGAN's released code, whose parameters have the names of ours.

The release saves a file per network, ``360000-G.ckpt`` and ``360000-D.ckpt``.
Command: ``python tools/train.py configs/healthygan_covid.py --cfg-options model.official_weights.generator=FILE``.
"""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from medkit.errors import WeightsError

_UNUSED = ("running_mean", "running_var", "num_batches_tracked")  # kept by the release, never used by it


def load_official(model: nn.Module, files: Mapping[str, str | Path]) -> None:
    """Load official files into the networks of a model, each file whole.

    Args:
        model: has the networks that ``files`` names as attributes.
        files: ``dict(generator=PATH, discriminator=PATH)``, or one of them.

    Raises:
        WeightsError: a network is unknown, a file is missing or unreadable, or does not fit the network.
    """
    for part, file in files.items():
        network = getattr(model, part, None)
        if not isinstance(network, nn.Module):
            raise WeightsError(f"official_weights names {part!r}; {type(model).__name__} has generator, discriminator")
        state = official_state(_read(Path(file)))
        own = network.state_dict()
        wrong = sorted(n for n in own.keys() | state.keys() if _shape(own.get(n)) != _shape(state.get(n)))
        if wrong:
            first = wrong[0]
            raise WeightsError(
                f"{file} does not fit the {part}: {len(wrong)} of {len(own)} tensors differ (first: {first} is "
                f"{_shape(state.get(first))} in the file, {_shape(own.get(first))} in the network); the published "
                "networks have width 64 and 6 blocks or layers"
            )
        network.load_state_dict(state)


def official_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under our names: without DataParallel's prefix and the running statistics."""
    plain = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in plain.items() if not name.endswith(_UNUSED)}


def _read(file: Path) -> Mapping[str, Tensor]:
    if not file.is_file():
        raise WeightsError(f"official weights {file} do not exist; the release saves them as 360000-G.ckpt")
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, OSError) as error:
        raise WeightsError(f"official weights {file} cannot be read: {error}") from error


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape)
