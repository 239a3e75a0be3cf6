"""A number of the model that rises while training, such as the weight of metric learning on an autoencoder's codes.

Onga et al. (arXiv 1912.01824) give no schedule. Squared distances of untrained codes say little, so the autoencoder
may learn to see first. Command: ``python tools/train.py configs/cae3d_metric_brain_phantom.py``.
"""

from mmengine.runner import Runner

from medkit.engine.ssit_schedule import CosineValueHook
from medkit.errors import ConfigError
from medkit.registry import HOOKS


def ramp(part: float, begin: float, full: float) -> float:
    """0 until ``begin``, then linearly to 1 at ``full``; all three are shares of the training."""
    return min(max((part - begin) / (full - begin), 0.0), 1.0) if full > begin else float(part >= full)


@HOOKS.register_module()
class RampValueHook(CosineValueHook):
    """Before each iteration sets a number of the model to `ramp` times the value that the model was built with.

    ``dict(type='medkit.RampValueHook', attribute='alpha', begin=0.2, full=0.4)``. The value is a closed form of the
    iteration, so that a resumed run has the same one, and appears in the log.

    Args:
        attribute: dotted name of a number of the model.
        begin: share of the training up to which it is 0.
        full: share from which on it is the model's own; ``begin`` = ``full`` = 0 changes nothing.

    Raises:
        ConfigError: shares out of order, or the model has no such number.
    """

    def __init__(self, attribute: str = "alpha", begin: float = 0.0, full: float = 0.1) -> None:
        if not 0 <= begin <= full <= 1:
            raise ConfigError(f"RampValueHook: begin={begin}, full={full}; expected 0 <= begin <= full <= 1")
        super().__init__(attribute)
        self.begin, self.full = begin, full

    def before_train(self, runner: Runner) -> None:
        """Keep the model's own value."""
        super().before_train(runner)
        self.target = getattr(*self._owner(runner))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Set the number of this iteration."""
        value = self.target * ramp(runner.iter / runner.max_iters, self.begin, self.full)
        setattr(*self._owner(runner), value)
        runner.message_hub.update_scalar(f"train/{self.attribute}", value)

    def after_train(self, runner: Runner) -> None:
        """Give the model its own value back."""
        setattr(*self._owner(runner), self.target)
