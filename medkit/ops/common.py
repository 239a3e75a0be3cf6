"""What the operators share: torchvision's kernels by name, and one rule of precision."""

from collections.abc import Callable

import torch
import torchvision
from torch import Tensor

from medkit.errors import OpsError


def torchvision_op(name: str) -> Callable:
    """A kernel of torchvision, e.g. ``nms``.

    Raises:
        OpsError: torchvision was installed without kernels, or for another torch.
    """
    try:
        return getattr(torch.ops.torchvision, name)
    except AttributeError:
        raise OpsError(
            f"torchvision {torchvision.__version__} has no kernel {name!r} for torch {torch.__version__}; "
            "reinstall the two together: pip install --force-reinstall torch torchvision -c constraints.txt"
        ) from None


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Type to compute in: float64 as it is, all else float32, as torchvision does under autocast."""
    return torch.float64 if tensor.dtype == torch.float64 else torch.float32


def as_float32(value: float) -> float:
    """A threshold as the compiled kernels hold it: 0.7 must not differ from their 0.7f on an exact tie."""
    return torch.tensor(value, dtype=torch.float32).item()
