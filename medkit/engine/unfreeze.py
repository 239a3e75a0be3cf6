"""Stepwise unfreezing of a pre-trained backbone: the head learns first, then stage after stage is released.

Gradual unfreezing follows Howard and Ruder, "Universal Language Model Fine-tuning for Text Classification"
(ACL 2018).
Command: ``python tools/train.py configs/centernet_simsiam_liver.py``.

Three traps make the usual recipe (build with ``frozen_stages``, set ``requires_grad`` in a hook) train
nothing, without a word: mmdet's ``ResNet.train()`` freezes again right after ``before_train_epoch``; mmengine
leaves frozen parameters out of the optimizer; DDP does not synchronise parameters that were frozen when it
wrapped the model. Here the model is built with everything trainable, so that optimizer and DDP know all
parameters, and the hook freezes afterwards.
"""

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from medkit.engine.stages import BackboneStages, named_module
from medkit.errors import ConfigError
from medkit.registry import HOOKS

RESNET_STAGES = (("layer4",), ("layer3",), ("layer2",), ("layer1", "bn1", "conv1"))
MODES = ("stepwise", "fix", "flex")


def equal_schedule(max_epochs: int, num_stages: int) -> list[int]:
    """Release epochs that cut a training into ``num_stages + 1`` equal phases; first the head alone.

    With fewer epochs than phases several stages are released together, so that each one still trains.
    """
    return [(stage + 1) * max_epochs // (num_stages + 1) for stage in range(num_stages)]


@HOOKS.register_module()
class StepwiseUnfreezeHook(Hook):
    """Freezes a backbone and releases its stages by epoch; or freezes it for good (fix) or never (flex).

    What is frozen follows from the epoch alone, so a resumed run continues as it would have without the
    interruption. A frozen parameter has ``requires_grad=False`` and no gradient, so neither weight decay nor
    momentum moves it; frozen modules are in eval mode, so batch-norm statistics stand still and dropout is
    off. Parameters that the model itself never trains (``norm_cfg=dict(requires_grad=False)``, fixed position
    embeddings) are left alone. Under DDP the config needs ``find_unused_parameters = True`` as long as
    something is frozen.

    Args:
        mode: ``stepwise`` releases the groups of ``stages`` in order; parts of the backbone that no group
            names stay frozen. ``fix`` keeps the whole backbone frozen, ``flex`` trains all of it from the
            start.
        schedule: for each group, the number of finished epochs after which it trains (0: from the start),
            increasing. ``None``: equal phases, see `equal_schedule`.
        stages: groups of children of the backbone, first released first: module or parameter names, dots
            allowed (``'layers.11'``, ``'pos_embed'``).
        backbone: dotted name of the backbone inside the model.

    Raises:
        ConfigError: contradictory arguments; at the start of training: unknown stage names, a stage that
            would never be released or that the optimizer does not hold, or DDP settings under which the
            weights of the ranks would part.
    """

    priority = "NORMAL"

    def __init__(
        self,
        mode: str = "stepwise",
        schedule: Sequence[int] | None = None,
        stages: Sequence[Sequence[str]] = RESNET_STAGES,
        backbone: str = "backbone",
    ) -> None:
        if mode not in MODES:
            raise ConfigError(
                f"StepwiseUnfreezeHook: mode={mode!r} is unknown; choose one of {', '.join(MODES)}"
            )
        if isinstance(stages, str) or any(isinstance(group, str) for group in stages):
            raise ConfigError(
                f"StepwiseUnfreezeHook: stages={stages!r} must be a list of groups; write [['layer4'], "
                "['layer3']]"
            )
        _check_schedule(mode, schedule, len(stages))
        self.mode = mode
        self.schedule = None if schedule is None else list(schedule)
        self.stages = [tuple(group) for group in stages]
        self.backbone = backbone
        self._parts: BackboneStages  # from before_train on
        self._epochs: list[int] = []  # release epoch of each group
        self._count = -1  # groups released so far
        self._still: list[nn.Module] = []  # modules kept in eval mode

    def before_train(self, runner: Runner) -> None:
        """Take over the freezing.

        By now the optimizer is built, DDP has wrapped the model and a checkpoint is loaded.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        backbone = named_module(model, self.backbone)
        if not hasattr(self, "_parts") or self._parts.backbone is not backbone:
            groups: dict[str, list[tuple[str, ...]]]
            groups = {"stepwise": self.stages, "fix": [], "flex": [("",)]}
            self._parts = BackboneStages(backbone, groups[self.mode])
        self._epochs = {"stepwise": self._release_epochs(runner), "fix": [], "flex": [0]}[self.mode]
        self._check_optimizer(runner)
        self._check_wrapper(runner)
        if hasattr(backbone, "frozen_stages"):
            # or the backbone's own train() would freeze again
            backbone.frozen_stages = -1  # type: ignore[assignment]
        self._count = -1
        self._update(runner)

    def before_train_epoch(self, runner: Runner) -> None:
        """Release what is due."""
        self._update(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Undo what ``model.train()`` did to frozen modules; it is called after ``before_train_epoch``."""
        if batch_idx == 0:
            self._parts.apply(self._count)
        for module in self._still:
            module.training = False

    def _update(self, runner: Runner) -> None:
        """Bring the backbone into the state of the coming epoch and log what changed."""
        before, self._count = self._count, self._due(runner)
        self._parts.apply(self._count)
        if self._count != before:
            self._still = self._parts.frozen_modules(self._count)
            self._log(runner, max(before, 0))

    def _due(self, runner: Runner) -> int:
        return sum(epoch <= runner.epoch for epoch in self._epochs)

    def _log(self, runner: Runner, first: int) -> None:
        if self.mode != "stepwise":
            state = "is frozen for the whole run" if self.mode == "fix" else "trains from the start"
            runner.logger.info(f"StepwiseUnfreezeHook: mode {self.mode}: {self.backbone} {state}")
            return
        names = [", ".join(group) for group in self.stages]
        for index in range(first, self._count):
            since = self._epochs[index]
            params = self._parts.params[index] - self._parts.never
            runner.logger.info(
                f"StepwiseUnfreezeHook: epoch {runner.epoch + 1}: {names[index]} "
                f"{'released' if since == runner.epoch else f'trains since epoch {since + 1}'}, "
                f"{sum(p.numel() for p in params):,} parameters, {_lr_text(runner, params)}"
            )
        plan = [f"{names[i]} from epoch {self._epochs[i] + 1}" for i in range(self._count, len(names))]
        runner.logger.info(
            f"StepwiseUnfreezeHook: still frozen: {'; '.join(plan) or 'nothing that will be released'}"
        )

    def _release_epochs(self, runner: Runner) -> list[int]:
        """The release epochs of mode stepwise, checked against the training loop."""
        if self.mode != "stepwise":
            return []
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ConfigError(
                "StepwiseUnfreezeHook: mode='stepwise' counts epochs, but train_cfg asks for "
                "IterBasedTrainLoop; use train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=...)"
            )
        max_epochs = runner.max_epochs
        epochs = self.schedule or equal_schedule(max_epochs, len(self.stages))
        if len(set(epochs)) < len(epochs):
            runner.logger.warning(
                f"StepwiseUnfreezeHook: {max_epochs} epochs are fewer than the {len(epochs) + 1} phases; "
                "some stages are released together"
            )
        late = [
            ", ".join(group) for group, epoch in zip(self.stages, epochs, strict=True) if epoch >= max_epochs
        ]
        if late:
            raise ConfigError(
                f"StepwiseUnfreezeHook: schedule={epochs} would never release {'; '.join(late)} in "
                f"max_epochs={max_epochs}; lower the epochs, use schedule=None (equal phases), or drop these "
                "stages"
            )
        return epochs

    def _check_optimizer(self, runner: Runner) -> None:
        held = {p for group in _param_groups(runner) for p in group["params"]}
        lost = self._parts.trainable() - held
        names = [name for name, param in self._parts.backbone.named_parameters() if param in lost]
        if names:
            raise ConfigError(
                f"StepwiseUnfreezeHook: {len(names)} parameters of the backbone shall train but were frozen "
                f"when the optimizer was built, so it does not hold them ({', '.join(names[:3])} ...); set "
                f"model.{self.backbone}.frozen_stages=-1, or "
                "optim_wrapper.constructor='medkit.FreezeAwareOptimWrapperConstructor'"
            )

    def _check_wrapper(self, runner: Runner) -> None:
        wrapper, parts = runner.model, self._parts
        if not is_model_wrapper(wrapper):
            return
        if not isinstance(wrapper, DistributedDataParallel):
            raise ConfigError(
                f"StepwiseUnfreezeHook: the model is wrapped in {type(wrapper).__name__}; only "
                "MMDistributedDataParallel can be combined with it: remove model_wrapper_cfg"
            )
        if parts.off_at_start & parts.trainable():
            raise ConfigError(
                "StepwiseUnfreezeHook: parts of the backbone were frozen before DDP wrapped the model, so "
                "their gradients would not be synchronised once released; set "
                f"model.{self.backbone}.frozen_stages=-1"
            )
        frozen = parts.frozen(self._due(runner)) - parts.off_at_start
        if frozen and (wrapper.static_graph or not wrapper.find_unused_parameters):
            raise ConfigError(
                "StepwiseUnfreezeHook: with several processes and a frozen backbone the config needs the "
                "line `find_unused_parameters = True` (or, where it has a model_wrapper_cfg, "
                "find_unused_parameters=True inside that, without static_graph)"
            )


def _check_schedule(mode: str, schedule: Sequence[int] | None, num_stages: int) -> None:
    if schedule is None:
        return
    if mode != "stepwise":
        raise ConfigError(
            f"StepwiseUnfreezeHook: mode={mode!r} releases nothing, but schedule={schedule}; set it to None"
        )
    if len(schedule) != num_stages:
        raise ConfigError(
            f"StepwiseUnfreezeHook: schedule={schedule} has {len(schedule)} epochs for {num_stages} groups "
            "of stages; give one epoch per group"
        )
    whole = all(isinstance(epoch, int) and not isinstance(epoch, bool) and epoch >= 0 for epoch in schedule)
    if not whole or list(schedule) != sorted(set(schedule)):
        raise ConfigError(
            f"StepwiseUnfreezeHook: schedule={schedule} must be increasing whole numbers from 0; put stages "
            "that are released together into one group"
        )


def _param_groups(runner: Runner) -> list[dict]:
    wrapper = runner.optim_wrapper
    wrappers = wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]
    return [group for each in wrappers for group in each.optimizer.param_groups]


def _lr_text(runner: Runner, params: set[nn.Parameter]) -> str:
    rates = sorted({g["lr"] for g in _param_groups(runner) if not params.isdisjoint(g["params"])})
    return f"lr {rates[0]:.3g}" if len(rates) == 1 else f"lr {rates[0]:.3g} to {rates[-1]:.3g}"
