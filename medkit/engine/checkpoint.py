"""Loading a backbone from a checkpoint of anything that contains it, and proving that it fitted.

mmengine loads whatever matches and warns about the rest; with a wrong prefix that is nothing at all.
`load_backbone` finds the prefix itself and refuses a poor match. In a config, on the backbone:

    init_cfg=dict(type='medkit.PretrainedBackbone', checkpoint='work_dirs/simsiam_liver')

It takes checkpoints of medkit, mmdet, mmpretrain, mmselfsup 0.x and 1.x, of the official SimSiam and MoCo
code, and plain torchvision state dicts. Weights from a URL or ``torchvision://`` are the job of mmengine's
``type='Pretrained'``.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from medkit.engine.reading import read_checkpoint, resolve_checkpoint
from medkit.errors import WeightsError
from medkit.registry import WEIGHT_INITIALIZERS

__all__ = [
    "LoadReport",
    "PretrainedBackbone",
    "load_backbone",
    "match",
    "read_checkpoint",
    "resolve_checkpoint",
]

_SECOND_CHOICE = (
    "momentum",
    "target",
    "teacher",
    "ema",
    "encoder_k",
    "key",
)  # moving averages of the trained encoder


@dataclass(frozen=True)
class LoadReport:
    """Names of tensors, relative to the backbone; ``num_batches_tracked`` is not counted.

    Attributes:
        matched: in both, with equal shape; these were loaded.
        missing: in the backbone only, or with another shape in the file.
        unexpected: in the file only, under the same prefix.
        prefix: what stands before the backbone's names in the file.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    prefix: str

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing)
        text = f"{len(self.matched)} of {total} tensors matched under prefix {self.prefix!r}"
        text += f", {len(self.missing)} missing, {len(self.unexpected)} unexpected"
        return text + "".join(
            f"; {kind}: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for kind, names in (("missing", self.missing), ("unexpected", self.unexpected))
            if names
        )


def load_backbone(
    backbone: nn.Module, checkpoint: str | Path | Mapping, *, min_matched: float = 0.95, trust: bool = False
) -> LoadReport:
    """Load weights into a backbone from a checkpoint of anything that contains it.

    Args:
        backbone: receives the weights; it is left untouched when the match is poor.
        checkpoint: file, run folder, or what `read_checkpoint` returned.
        min_matched: fraction of the backbone's tensors (buffers included) that must match in name and shape.
        trust: see `read_checkpoint`.

    Raises:
        WeightsError: poor match, weights that are not finite, missing or unreadable file.
    """
    label = "the given state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
    content = checkpoint if isinstance(checkpoint, Mapping) else read_checkpoint(checkpoint, trust=trust)
    source = _state_dict(content, label)
    wanted = {name: tensor for name, tensor in backbone.state_dict().items() if _counts(name)}
    report = match(wanted, source)
    if len(report.matched) < min_matched * len(wanted):
        raise WeightsError(_poor_match(label, report, wanted, source, min_matched))
    chosen = {name: source[report.prefix + name] for name in report.matched}
    broken = [name for name, tensor in chosen.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise WeightsError(
            f"{label}: {len(broken)} tensors hold NaN or infinity ({', '.join(broken[:3])}): that training "
            "diverged; use an earlier checkpoint"
        )
    backbone.load_state_dict(chosen, strict=False)
    return report


def match(wanted: Mapping[str, Tensor], source: Mapping[str, Tensor]) -> LoadReport:
    """Find the prefix under which most of ``wanted`` is in ``source``.

    At a tie the trained encoder wins over its moving average.
    """
    hits: Counter[str] = Counter()
    for name, tensor in source.items():
        parts = name.split(".")
        for cut in range(len(parts)):
            inner = ".".join(parts[cut:])
            if inner in wanted and wanted[inner].shape == tensor.shape:
                hits[name[: len(name) - len(inner)]] += 1

    def rank(prefix: str) -> tuple[int, bool, int]:
        return -hits[prefix], any(word in prefix.lower() for word in _SECOND_CHOICE), len(prefix)

    prefix = min(hits, key=rank, default="")
    inside = {name[len(prefix) :] for name in source if name.startswith(prefix) and _counts(name)}
    matched = tuple(n for n, t in wanted.items() if n in inside and source[prefix + n].shape == t.shape)
    return LoadReport(
        matched=matched,
        missing=tuple(n for n in wanted if n not in set(matched)),
        unexpected=tuple(sorted(inside - wanted.keys())),
        prefix=prefix,
    )


def _counts(name: str) -> bool:
    return not name.endswith("num_batches_tracked")


def _state_dict(content: Mapping, label: str) -> Mapping[str, Tensor]:
    """The dict of tensors inside a checkpoint; with mmengine's EMA, ``state_dict`` holds the averages."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
            break
    tensors = OrderedDict((name, value) for name, value in content.items() if isinstance(value, Tensor))
    if not tensors:
        raise WeightsError(
            f"{label} holds no weights; its entries are: {', '.join(map(str, list(content)[:8]))}"
        )
    return tensors


def _poor_match(
    label: str, report: LoadReport, wanted: Mapping[str, Tensor], source: Mapping[str, Tensor], least: float
) -> str:
    def shape(tensors: Mapping[str, Tensor], name: str) -> str:
        return f"{name} {tuple(tensors[name].shape)}" if name in tensors else f"no {name}"

    pairs = [f"{shape(wanted, n)} <- {shape(source, report.prefix + n)}" for n in report.missing[:3]]
    return (
        f"{label} does not fit the backbone: {len(report.matched)} of {len(wanted)} tensors match in name "
        f"and shape, {least:.0%} are needed. The backbone wants {'; '.join(pairs)}. The file begins with "
        f"{', '.join(shape(source, n) for n in list(source)[:3])}. Use the checkpoint of a backbone of the "
        "same kind, depth and width"
    )


@WEIGHT_INITIALIZERS.register_module()
class PretrainedBackbone:
    """Initialize the module whose ``init_cfg`` names it from a checkpoint of anything that contains it.

    Args:
        checkpoint: file or run folder.
        min_matched: see `load_backbone`.
        trust: see `read_checkpoint`.

    Raises:
        WeightsError: see `load_backbone`.
    """

    def __init__(self, checkpoint: str | Path, min_matched: float = 0.95, trust: bool = False) -> None:
        self.checkpoint = checkpoint
        self.min_matched = min_matched
        self.trust = trust

    def __call__(self, module: nn.Module) -> None:
        """Load, and keep mmengine from initializing the module's children again afterwards."""
        report = load_backbone(module, self.checkpoint, min_matched=self.min_matched, trust=self.trust)
        print_log(f"{type(module).__name__} loaded from {self.checkpoint}: {report}", logger="current")
        for child in module.modules():
            if child is not module:
                # BaseModule.init_weights skips such children
                child.is_init = True  # type: ignore[assignment]
        if hasattr(module, "_params_init_info"):
            update_init_info(module, init_info=f"PretrainedBackbone: loaded from {self.checkpoint}")
