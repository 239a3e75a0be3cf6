"""A loss that is NaN or infinite stops a training before the weights are changed by it."""

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import Tensor

from medkit.errors import TrainingError


def check_losses(losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The losses themselves, detached, once all are finite; call it before the optimizer moves the weights.

    Raises:
        TrainingError: one is not; names it, the iteration and the last checkpoint.
    """
    detached = {name: value.detach() for name, value in losses.items()}
    if not torch.stack([value.float().mean() for value in detached.values()]).isfinite().all():
        raise TrainingError(_not_finite(detached, MessageHub.get_current_instance().runtime_info))
    return detached


def _not_finite(losses: Mapping[str, Tensor], run: Mapping[str, Any]) -> str:
    bad = {name: float(value.mean()) for name, value in losses.items() if not value.isfinite().all()}
    last = run.get("last_ckpt")
    kept = f"the last good checkpoint is {last}" if last else "no checkpoint was saved yet"
    named = ", ".join(f"{name} is {value}" for name, value in bad.items())
    terms = ", ".join(f"{name} {float(value.mean()):.4g}" for name, value in losses.items())
    return (
        f"the loss {named} in iteration {run.get('iter', 0) + 1} (all terms: {terms}); training stopped before the "
        f"weights were changed by it; {kept}; go on from there with a lower lr, or without --amp"
    )
