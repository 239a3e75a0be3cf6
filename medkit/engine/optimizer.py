"""Optimizer constructors: one that keeps parameters which are released later, one of an optimizer for each network.

mmengine's `DefaultOptimWrapperConstructor` leaves out every parameter whose ``requires_grad`` is False when
it runs, as soon as a ``paramwise_cfg`` is given; a stage that is released afterwards then never moves. Use in
a config:

    optim_wrapper = dict(constructor='medkit.FreezeAwareOptimWrapperConstructor', ...)

A model that is built with ``frozen_stages=-1`` and left to `StepwiseUnfreezeHook` does not need it, because
then nothing is frozen yet when the optimizer is built. `PartsOptimWrapperConstructor` is for models of several
networks that are trained against each other.
"""

import copy
from collections import Counter

from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper, OptimWrapperDict
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from medkit.errors import ConfigError
from medkit.registry import OPTIM_WRAPPER_CONSTRUCTORS


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class FreezeAwareOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """`DefaultOptimWrapperConstructor` that also takes frozen parameters, each with its own lr and decay.

    A frozen parameter has no gradient, and torch's optimizers skip what has none (weight decay and momentum
    included), so it does not move before it is released.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapper from all floating-point parameters; ``requires_grad`` is as before afterwards."""
        frozen = [p for p in model.parameters() if not p.requires_grad and p.is_floating_point()]
        for param in frozen:
            param.requires_grad_(True)
        try:
            return super().__call__(model)
        finally:
            for param in frozen:
                param.requires_grad_(False)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PartsOptimWrapperConstructor:
    """An `OptimWrapperDict` of one optimizer for each part of a model; ``train_step`` takes them by name.

    In a config::

        optim_wrapper = dict(
            constructor='medkit.PartsOptimWrapperConstructor',
            type='mmengine.OptimWrapper',  # of all parts; `--amp` changes it here
            parts=dict(
                generator=dict(modules=['encoder', 'decoder'], optimizer=dict(type='mmengine.Adam', lr=1e-4)),
                discriminator=dict(optimizer=dict(type='mmengine.Adam', lr=1e-4)),
            ),
        )

    ``modules`` are submodules of the model, by default the one of the part's name. Checkpoints hold the state of all
    optimizers, and each follows the config's schedule.

    Args:
        optim_wrapper_cfg: ``parts`` and what is common to their wrappers (``type``, ``clip_grad``, ...).
        paramwise_cfg: not supported; say lr and decay in the parts.

    Raises:
        ConfigError: no parts, an unknown module, or a trainable parameter that is in no part or in two.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        if paramwise_cfg or not optim_wrapper_cfg.get("parts"):
            raise ConfigError(
                f"PartsOptimWrapperConstructor: paramwise_cfg={paramwise_cfg}, parts={optim_wrapper_cfg.get('parts')}; "
                "give parts=dict(NAME=dict(optimizer=...)) and no paramwise_cfg"
            )
        self.common = {name: value for name, value in optim_wrapper_cfg.items() if name != "parts"}
        self.parts = optim_wrapper_cfg["parts"]

    def __call__(self, model: nn.Module) -> OptimWrapperDict:
        """Build the optimizers of a model, also of one wrapped for several processes."""
        model = model.get_submodule("module") if is_model_wrapper(model) else model
        params = {name: _parameters(model, name, part) for name, part in self.parts.items()}
        _check_parts(model, params)
        wrappers = {}
        for name, part in self.parts.items():
            more = {key: value for key, value in part.items() if key not in ("modules", "optimizer")}
            optimizer = OPTIMIZERS.build({**copy.deepcopy(dict(part["optimizer"])), "params": params[name]})
            settings = {"type": "OptimWrapper", **self.common, **more, "optimizer": optimizer}
            wrappers[name] = OPTIM_WRAPPERS.build(settings)
        return OptimWrapperDict(**wrappers)


def _parameters(model: nn.Module, name: str, part: dict) -> list[nn.Parameter]:
    try:
        return [param for path in part.get("modules", [name]) for param in model.get_submodule(path).parameters()]
    except AttributeError as error:
        raise ConfigError(
            f"optim_wrapper.parts.{name}: {error}; {type(model).__name__} has "
            f"{[child for child, _ in model.named_children()]}; set `modules`"
        ) from error


def _check_parts(model: nn.Module, params: dict[str, list[nn.Parameter]]) -> None:
    times = Counter(param for of_part in params.values() for param in of_part)
    for path, param in model.named_parameters():
        if times[param] > 1 or (param.requires_grad and not times[param]):
            found = "no part" if not times[param] else "more than one part"
            raise ConfigError(
                f"optim_wrapper.parts: {path} is in {found} of {sorted(params)}; every trainable parameter needs one "
                "optimizer"
            )
