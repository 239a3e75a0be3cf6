"""mmselfsup's ResNets, whose ``out_indices`` count the stem as 0 and the stages from 1.

mmpretrain counts the stages from 0: unchanged, ``[4]`` would fail there, and ``[3]`` silently give the fourth
stage where the third was meant.
"""

from collections.abc import Callable, Sequence
from functools import partial

from mmpretrain.registry import MODELS
from torch import nn

from medkit.errors import ConfigError


def _resnet(
    name: str, out_indices: Sequence[int] = (4,), zero_init_residual: bool = False, **kwargs: object
) -> nn.Module:
    if min(out_indices) < 1:
        raise ConfigError(
            f"mmselfsup's {name}(out_indices={list(out_indices)}) asks for the stem's output, which "
            f"mmpretrain's {name} does not give; use stages, 1 to 4"
        )
    stages = tuple(index - 1 for index in out_indices)
    return MODELS.get(name)(out_indices=stages, zero_init_residual=zero_init_residual, **kwargs)


RENAMED_MODELS: dict[str, Callable[..., nn.Module]] = {
    name: partial(_resnet, name) for name in ("ResNet", "ResNetV1d", "ResNeXt")
}
