"""An optimizer constructor that keeps parameters which are frozen now but will be released later.

mmengine's `DefaultOptimWrapperConstructor` leaves out every parameter whose ``requires_grad`` is False when
it runs, as soon as a ``paramwise_cfg`` is given; a stage that is released afterwards then never moves. Use in
a config:

    optim_wrapper = dict(constructor='medkit.FreezeAwareOptimWrapperConstructor', ...)

A model that is built with ``frozen_stages=-1`` and left to `StepwiseUnfreezeHook` does not need it, because
then nothing is frozen yet when the optimizer is built.
"""

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

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
