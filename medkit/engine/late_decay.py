"""HealthyGAN's learning rate: constant, then falling over the last part of the training, as meant or as released.

The released code (commit 3710a0c) takes lr / decay off the learning rate, meant for each of the last ``decay``
iterations, only once in 1000 of them. Its lr of 1e-4 so ends at 9.99e-5, not at 0.
Command: ``python tools/train.py configs/healthygan_covid.py --cfg-options linear_decay=True``.
"""

import warnings

from mmengine.optim import _ParamScheduler
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin

from medkit.errors import ConfigError
from medkit.registry import PARAM_SCHEDULERS

RELEASED_STEP = 1000  # iterations from one decrement of the released code to the next


def late_decay(done: int, end: int, decay: int, linear: bool) -> float:
    """Factor of the lr after ``done`` of ``end`` iterations, the last ``decay`` of which lower it."""
    begin = end - decay
    if linear:
        return 1 - max(done - begin, 0) / decay
    return 1 - max(done // RELEASED_STEP - begin // RELEASED_STEP, 0) / decay


@PARAM_SCHEDULERS.register_module()
class LateDecayLR(LRSchedulerMixin, _ParamScheduler):
    """Each group's initial lr times `late_decay`; a closed form of the iteration, so that a resumed run has the same.

    In a config: ``dict(type='medkit.LateDecayLR', by_epoch=False, end='${max_iters}', decay=100000, linear=False)``.

    Args:
        optimizer: given by the Runner.
        decay: iterations before ``end`` over which the lr falls.
        linear: to 0; False is the released behaviour.
        kwargs: ``end``, ``by_epoch``, ... of mmengine's schedulers.

    Raises:
        ConfigError: the decay is longer than the training.
    """

    def __init__(self, optimizer, decay: int = 1, linear: bool = False, **kwargs) -> None:
        end = kwargs.get("end")
        if end is None or not 0 < decay <= end:
            raise ConfigError(f"LateDecayLR: decay={decay}, end={end}; give 0 < decay <= end, in iterations")
        self.decay, self.linear = decay, linear
        super().__init__(optimizer, **kwargs)

    def step(self) -> None:
        """Next iteration. The generator's optimizer first steps in the second one, which is no fault here."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected call of `scheduler.step")
            super().step()

    def _get_value(self) -> list[float]:
        factor = late_decay(self.last_step, self.end, self.decay, self.linear)
        return [base * factor for base in self.base_values]
