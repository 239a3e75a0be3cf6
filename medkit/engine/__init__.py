"""What runs a training beside the model: hooks, the optimizer constructor, checkpoint loading.

Importing this package registers them, so that configs can say ``type='medkit.StepwiseUnfreezeHook'``.
"""

from medkit.engine.amp import Bf16OptimWrapper
from medkit.engine.checkpoint import (
    LoadReport,
    PretrainedBackbone,
    load_backbone,
    read_checkpoint,
    resolve_checkpoint,
)
from medkit.engine.optimizer import FreezeAwareOptimWrapperConstructor
from medkit.engine.unfreeze import StepwiseUnfreezeHook

__all__ = [
    "Bf16OptimWrapper",
    "FreezeAwareOptimWrapperConstructor",
    "LoadReport",
    "PretrainedBackbone",
    "StepwiseUnfreezeHook",
    "load_backbone",
    "read_checkpoint",
    "resolve_checkpoint",
]
