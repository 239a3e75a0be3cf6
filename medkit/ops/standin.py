"""The stand-in for ``mmcv._ext``: every name that ``mmcv.ops`` asks for.

Names that are not covered exist, because ``mmcv.ops`` looks them up when it is imported, and raise
`medkit.errors.OpsError` when they are called.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import torch
import torchvision

from medkit.errors import OpsError
from medkit.ops import attention, boxes, deform, focal, nms, roi

TORCHVISION = "torchvision"
PYTORCH = "plain PyTorch"
NUMPY = "NumPy"
UNSUPPORTED = "unsupported"

_DOC = "docs/install.md, 'Compiling mmcv'"


@dataclass(frozen=True)
class OpSource:
    """One operator of ``mmcv._ext``: its name, what serves it, and a note."""

    name: str
    served_by: str
    note: str = ""


def get_compiler_version() -> str:
    """What mmcv's environment report shows as its compiler."""
    return f"none (medkit.ops on torchvision {torchvision.__version__})"


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report shows as its CUDA version: that of torch and torchvision."""
    return torch.version.cuda or "not available"


_TABLE: dict[Callable, str] = {
    nms.nms: TORCHVISION,
    nms.softnms: NUMPY,
    nms.nms_match: NUMPY,
    roi.roi_align_forward: f"{TORCHVISION} (pool_mode='max': {PYTORCH})",
    roi.roi_align_backward: f"{TORCHVISION} (pool_mode='max': {PYTORCH})",
    roi.roi_pool_forward: PYTORCH,
    roi.roi_pool_backward: PYTORCH,
    deform.deform_conv_forward: TORCHVISION,
    deform.deform_conv_backward_input: TORCHVISION,
    deform.deform_conv_backward_parameters: TORCHVISION,
    deform.modulated_deform_conv_forward: TORCHVISION,
    deform.modulated_deform_conv_backward: TORCHVISION,
    focal.sigmoid_focal_loss_forward: PYTORCH,
    focal.sigmoid_focal_loss_backward: PYTORCH,
    focal.softmax_focal_loss_forward: PYTORCH,
    focal.softmax_focal_loss_backward: PYTORCH,
    boxes.bbox_overlaps: PYTORCH,
    attention.ms_deform_attn_forward: PYTORCH,
    attention.ms_deform_attn_backward: PYTORCH,
    get_compiler_version: "medkit",
    get_compiling_cuda_version: "medkit",
}
_SUPPORTED: dict[str, Callable] = {function.__name__: function for function in _TABLE}


@cache
def mmcv_op_names() -> frozenset[str]:
    """Names that the installed ``mmcv/ops/*.py`` load from ``mmcv._ext``, read from their source."""
    spec = find_spec("mmcv")
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    names: set[str] = set()
    for folder in folders:
        for source in Path(folder, "ops").glob("*.py"):
            for listed in re.findall(
                r"load_ext\(\s*'_ext',\s*\[(.*?)\]", source.read_text(encoding="utf-8"), re.DOTALL
            ):
                names.update(re.findall(r"'(\w+)'", listed))
    return frozenset(names)


def op_sources() -> list[OpSource]:
    """What the stand-in offers for each operator, covered ones first, then by name."""
    covered = [OpSource(function.__name__, served_by) for function, served_by in _TABLE.items()]
    missing = sorted(mmcv_op_names() - set(_SUPPORTED))
    return covered + [OpSource(name, UNSUPPORTED, "raises OpsError when called") for name in missing]


def build_standin() -> ModuleType:
    """A module object that has every operator name of ``mmcv._ext``."""
    module = ModuleType("mmcv._ext", __doc__)
    module.__dict__.update(_SUPPORTED)

    def __getattr__(name: str) -> Callable:
        if name.startswith("_") or name not in mmcv_op_names():
            raise AttributeError(f"module 'mmcv._ext' (medkit.ops) has no operator {name!r}")
        return _unsupported(name)

    module.__getattr__ = __getattr__  # type: ignore[method-assign]
    return module


@cache
def _unsupported(name: str) -> Callable[..., NoReturn]:
    def raise_ops_error(*_args: object, **_kwargs: object) -> NoReturn:
        raise OpsError(
            f"the operator {name!r} of mmcv.ops has no stand-in in medkit.ops; it needs a compiled mmcv: "
            "pip install --no-build-isolation --no-cache-dir --force-reinstall --no-deps "
            f"--no-binary onedl-mmcv onedl-mmcv (see {_DOC})"
        )

    raise_ops_error.__name__ = raise_ops_error.__qualname__ = name
    return raise_ops_error
