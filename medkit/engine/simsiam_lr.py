"""Constant predictor learning rate for SimSiam (Chen and He 2021, arXiv 2011.10566).

The encoder follows the cosine schedule, the predictor keeps the learning rate it started with: the official
code's ``--fix-pred-lr``. Command: ``python tools/train.py configs/simsiam_liver.py``.
"""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from medkit.errors import ConfigError
from medkit.registry import HOOKS


@HOOKS.register_module()
class FixPredictorLRHook(Hook):
    """Before each iteration sets every parameter group tagged ``fix_lr=True`` back to its own initial lr.

    The value is the group's ``initial_lr``, which the schedulers recorded after the linear scaling rule
    (``auto_scale_lr``) was applied and which checkpoints carry. mmpretrain's `SimSiamHook` is given the
    number in the config instead and so leaves the predictor at the unscaled one. Works with schedulers by
    epoch and by iteration. Tag the groups with
    ``optim_wrapper.paramwise_cfg=dict(custom_keys=dict(predictor=dict(fix_lr=True)))``.

    Raises:
        ConfigError: no parameter group is tagged.
    """

    priority = "NORMAL"

    def before_train(self, runner: Runner) -> None:
        """Look for tagged groups: a typing error would otherwise switch the hook off without a word."""
        if not any(group.get("fix_lr") for group in runner.optim_wrapper.param_groups):
            raise ConfigError(
                "FixPredictorLRHook: no parameter group has fix_lr=True; set optim_wrapper.paramwise_cfg="
                "dict(custom_keys=dict(predictor=dict(fix_lr=True))), or remove the hook"
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Undo what the schedulers did to the tagged groups."""
        for group in runner.optim_wrapper.param_groups:
            if group.get("fix_lr"):
                group["lr"] = group.get("initial_lr", group["lr"])  # absent: no scheduler, nothing to undo
