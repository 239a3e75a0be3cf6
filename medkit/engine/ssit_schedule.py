"""Schedules by iteration: lr with warm-up from 0 and half a cosine, and half-cosine values of a model, such as EMA's.

Those of MoCo v3 (Chen, Xie and He, ICCV 2021) and SSiT (arXiv 2210.10969): the epoch is a fraction, and every value
is a closed form of it, so that a resumed run has the same ones. mmengine's `LinearLR` cannot start at 0; mmpretrain's
`CosineEMA` counts its own updates, of which the first copies.
Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

import math
from numbers import Number

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.runner import Runner
from torch import nn

from medkit.errors import ConfigError
from medkit.registry import HOOKS, PARAM_SCHEDULERS


def half_cosine(part: float, start: float, end: float) -> float:
    """From ``start`` at 0 to ``end`` at 1, flat at both."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * part))


def warmup_cosine(step: float, warmup: float, end: float) -> float:
    """Factor of the lr: from 0, linearly to 1 at ``warmup``, half a cosine to 0 at ``end``."""
    return step / warmup if step < warmup else half_cosine((step - warmup) / (end - warmup), 1, 0)


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Each group's initial lr times `warmup_cosine`, set for every iteration.

    In a config, with epochs as the unit::

        dict(type='medkit.WarmupCosineLR', warmup=40, end=300, by_epoch=True, convert_to_iter_based=True)

    Args:
        optimizer: given by the Runner.
        warmup: length of the warm-up in epochs (fractions too), or in iterations with ``by_epoch=False``.
        closed: the warm-up's last iteration has the full rate already, as the cosine's first has (giga-SSL).
        kwargs: ``begin``, ``end``, ``by_epoch``, ... of mmengine's schedulers. ``begin`` and ``warmup`` both count
            from the same 0.

    Raises:
        ConfigError: the warm-up does not end before the schedule does.
    """

    def __init__(self, optimizer, warmup: float = 0, closed: bool = False, **kwargs) -> None:
        end = kwargs.get("end")
        if end is None or not 0 <= warmup < end:
            raise ConfigError(f"WarmupCosineLR: warmup={warmup}, end={end}; give 0 <= warmup < end, in the same unit")
        self.warmup, self.closed = warmup, closed
        super().__init__(optimizer, **kwargs)

    @classmethod
    def build_iter_from_epoch(
        cls, optimizer, epoch_length: int, end: float, warmup: float = 0, begin: float = 0, by_epoch=True, **kwargs
    ) -> "WarmupCosineLR":
        """The same schedule counted in iterations; mmengine calls it for ``convert_to_iter_based=True``."""
        begin, end = begin * epoch_length, end * epoch_length
        return cls(optimizer, warmup * epoch_length, begin=begin, end=end, by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        step = self.begin + self.last_step
        if self.closed and step < self.warmup > 1:
            step *= self.warmup / (self.warmup - 1)
        factor = warmup_cosine(step, self.warmup, self.end)
        return [base * factor for base in self.base_values]


@HOOKS.register_module()
class CosineValueHook(Hook):
    """Before each iteration sets a number of the model to `half_cosine` of how much of the training is done.

    SSiT's momentum: ``dict(type='medkit.CosineValueHook', attribute='momentum', start=0.99, end=1.0)``. The value
    appears in the log under the attribute's name, after ``selfsup/``.

    Args:
        attribute: dotted name of a number of the model, such as ``'momentum'`` or ``'head.weight'``.
        start: value of the first iteration.
        end: value after the last one.

    Raises:
        ConfigError: the model has no such number.
    """

    priority = "NORMAL"

    def __init__(self, attribute: str = "momentum", start: float = 0.99, end: float = 1.0) -> None:
        self.attribute, self.start, self.end = attribute, start, end

    def before_train(self, runner: Runner) -> None:
        """Look for the number: a typing error would otherwise switch the hook off without a word."""
        owner, name = self._owner(runner)
        value = getattr(owner, name, None)
        if not isinstance(value, Number) or isinstance(value, bool):
            raise ConfigError(
                f"{type(self).__name__}: {type(owner).__name__}.{name} is {value!r}, expected a number; correct "
                "`attribute`"
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set the number of this iteration."""
        value = half_cosine(runner.iter / runner.max_iters, self.start, self.end)
        setattr(*self._owner(runner), value)
        runner.message_hub.update_scalar(f"train/selfsup/{self.attribute}", value)

    def _owner(self, runner: Runner) -> tuple[nn.Module, str]:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path, _, name = self.attribute.rpartition(".")
        try:
            return model.get_submodule(path), name
        except AttributeError as error:
            raise ConfigError(f"{type(self).__name__}: attribute={self.attribute!r}: {error}") from error
