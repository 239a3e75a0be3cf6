"""Hooks of anomaly detection: fitting in one pass, and what a run's masks and pictures look like on the way.

Command: ``python tools/train.py configs/healthygan_phantom.py``.
"""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from medkit.errors import ConfigError
from medkit.registry import HOOKS


def plain_model(runner: Runner) -> nn.Module:
    """The model itself, without the wrapper of several processes."""
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class FitHook(Hook):
    """Calls the model's ``finish_fit()`` after the last batch of a method that is fitted in one pass.

    It runs before the checkpoint of that iteration is written, so that the checkpoint holds the fitted state. Images
    are collected by the model's ``train_step`` (see `medkit.models.anomaly.AnomalyModel`).

    Raises:
        ConfigError: the model has no ``finish_fit``, or several processes would each fit a part of the images.
    """

    priority = "HIGH"  # before the checkpoint hook

    def before_train(self, runner: Runner) -> None:
        """Check that there is something to call."""
        model = plain_model(runner)
        if not callable(getattr(model, "finish_fit", None)):
            raise ConfigError(f"FitHook: {type(model).__name__} has no finish_fit(); remove the hook")
        if runner.world_size > 1:
            raise ConfigError(
                f"FitHook: {runner.world_size} processes would each fit their own part of the images; train "
                f"{type(model).__name__} with one process"
            )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Finish after the last iteration of the loop."""
        if runner.iter + 1 == runner.max_iters:
            plain_model(runner).finish_fit()
