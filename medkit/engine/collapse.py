"""Is a self-supervised run learning, or has its output collapsed to one point?

A collapsed SimSiam reaches the lowest possible loss, so the loss does not tell. The spread of the outputs
does (Chen and He, "Exploring Simple Siamese Representation Learning", 2021, section 4.1): after L2
normalisation each of d channels has a standard deviation of about 1/sqrt(d) when the outputs fill the sphere,
and 0 when they are all the same. Command: ``python tools/train.py configs/simsiam_liver.py``.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from medkit.errors import ConfigError
from medkit.registry import HOOKS

SMALLEST_BATCH = 8  # fewer samples say too little about spread and rank to warn about


def output_spread(z: Tensor) -> Tensor:
    """Standard deviation and effective rank of L2-normalised outputs.

    Args:
        z: (B, C) outputs, B >= 2.

    Returns:
        ``[std_ratio, rank]``: the mean over channels of the standard deviation, times sqrt(C) (about 1:
        healthy, 0: collapsed to a point); the participation ratio of the covariance's eigenvalues, between 1
        (all outputs on one line) and min(B - 1, C).
    """
    z = F.normalize(z.detach().float(), dim=1)  # (B, C)
    std_ratio = z.std(dim=0).mean() * z.shape[1] ** 0.5
    centred = z - z.mean(dim=0)
    gram = centred @ centred.T  # (B, B), the covariance's non-zero eigenvalues times B
    rank = gram.trace() ** 2 / gram.square().sum().clamp_min(torch.finfo(gram.dtype).tiny)
    return torch.stack((std_ratio, rank))


def _vectors(output: Tensor) -> Tensor:
    """(B, C) of an output of any shape: the mean over tokens (B, N, C) or over a map (B, C, H, W)."""
    return output.mean(dim=1) if output.dim() == 3 else output.flatten(2).mean(dim=2) if output.dim() > 3 else output


@HOOKS.register_module()
class CollapseMonitorHook(Hook):
    """Logs the spread of the outputs and warns when they have collapsed.

    Two outputs are watched by forward hooks: ``z`` (the projector's) and, in methods that have one, ``p`` (the
    predictor's). ``p`` is the sharper sign: SimSiam's projector ends in a batch norm, which gives each channel of
    ``z`` unit variance within the batch, so that ``z`` still looks spread out when a network without
    stop-gradient has collapsed (see docs/simsiam.md). Scalars, averaged over the last batches and over all
    ranks, appear in the training log: ``selfsup/std_ratio`` (z), ``selfsup/std_ratio_p``, ``selfsup/rank``
    (effective rank of z).

    Args:
        interval: ``'epoch'``, or a number of iterations (for loops without epochs).
        warn_below: warn when a ratio of std to 1/sqrt(d) is lower; healthy is about 0.6 to 1.
        min_rank: warn when the effective rank of z is lower; 1 means that all outputs lie on one line.
        num_batches: how many of the last batches count.
        outputs: name in the log -> dotted name of the module whose output it is; default: ``neck``, and
            ``head.predictor`` where the model has one. Of outputs with positions, (B, N, C) tokens or (B, C, H, W)
            maps, the mean over the positions counts.

    Raises:
        ConfigError: an argument is out of range, or the model has no such module.
    """

    priority = "NORMAL"  # before LoggerHook, so that the last line of an epoch shows that epoch's values

    def __init__(
        self,
        interval: int | str = "epoch",
        warn_below: float = 0.3,
        min_rank: float = 1.5,
        num_batches: int = 8,
        outputs: Mapping[str, str] | None = None,
    ) -> None:
        if interval != "epoch" and not (isinstance(interval, int) and interval > 0):
            raise ConfigError(
                f"CollapseMonitorHook: interval={interval!r}; give 'epoch' or a positive number of iterations"
            )
        if not 0 <= warn_below < 1:
            raise ConfigError(f"CollapseMonitorHook: warn_below={warn_below}; give a fraction, 0 to 1")
        if num_batches < 1:
            raise ConfigError(f"CollapseMonitorHook: num_batches={num_batches}; give 1 or more")
        self.interval = interval
        self.warn_below = warn_below
        self.min_rank = min_rank
        self.outputs = dict(outputs or {})
        length = 2 * num_batches  # each batch passes twice, once per view
        self._spreads: defaultdict[str, deque[Tensor]] = defaultdict(lambda: deque(maxlen=length))
        self._batch_size = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def before_train(self, runner: Runner) -> None:
        """Listen to the outputs."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        modules = dict(model.named_modules())
        if not self.outputs:
            self.outputs = {"z": "neck"} | ({"p": "head.predictor"} if "head.predictor" in modules else {})
        for name, path in self.outputs.items():
            if path not in modules:
                raise ConfigError(
                    f"CollapseMonitorHook: {type(model).__name__} has no module {path!r}; its children are "
                    f"{[child for child, _ in model.named_children()]}; set `outputs`"
                )
            self._handles.append(modules[path].register_forward_hook(self._recorder(name)))

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Report at the end of an epoch, or every ``interval`` iterations."""
        if self.interval == "epoch":
            due = self.end_of_epoch(runner.train_dataloader, batch_idx)
        else:
            due = self.every_n_train_iters(runner, self.interval)
        if due and all(self._spreads[name] for name in self.outputs):
            self._report(runner)

    def after_train(self, runner: Runner) -> None:
        """Stop listening."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _recorder(self, name: str) -> Callable:
        def record(module: nn.Module, args: tuple, output: Tensor | tuple[Tensor, ...]) -> None:
            z = _vectors(output[0] if isinstance(output, (tuple, list)) else output)  # (B, C)
            if module.training and len(z) > 1:
                self._batch_size = len(z)
                self._spreads[name].append(output_spread(z))  # stays on the device: no wait for it

        return record

    def _report(self, runner: Runner) -> None:
        spreads = {}
        for name in self.outputs:
            mean = torch.stack(list(self._spreads[name])).mean(dim=0)  # (2,)
            all_reduce(mean, op="mean")
            spreads[name] = mean.tolist()
        first = next(iter(spreads))
        for name, (std_ratio, _) in spreads.items():
            key = "std_ratio" if name == first else f"std_ratio_{name}"
            runner.message_hub.update_scalar(f"train/selfsup/{key}", std_ratio)
        rank = spreads[first][1]
        runner.message_hub.update_scalar("train/selfsup/rank", rank)
        ratios = {name: ratio for name, (ratio, _) in spreads.items()}
        low = any(ratio < self.warn_below for ratio in ratios.values())
        if self._batch_size >= SMALLEST_BATCH and (low or rank < self.min_rank):
            print_log(self._warning(ratios, rank, runner), logger="current", level=30)

    def _warning(self, ratios: dict[str, float], rank: float, runner: Runner) -> str:
        found = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
        group = runner.optim_wrapper.param_groups[0]
        lr = group.get("initial_lr", group["lr"])
        return (
            f"The self-supervised outputs have collapsed: their std is {found} of the healthy 1/sqrt(dim) "
            f"(warned below {self.warn_below}), effective rank {rank:.1f} (warned below {self.min_rank}). "
            "A low loss means nothing now, and going on will not mend it. Start again with a lower lr (it "
            f"began at {lr:g}), weaker augmentation (larger crops), or a larger batch (on several GPUs "
            "with synchronised batch norm)."
        )
