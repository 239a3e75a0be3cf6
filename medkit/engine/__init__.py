"""What runs a training beside the model: hooks, the optimizer constructor, checkpoint loading.

Importing this package registers them, so that configs can say ``type='medkit.StepwiseUnfreezeHook'``.
"""

from medkit.engine.amp import Bf16OptimWrapper
from medkit.engine.anomaly_hooks import FitHook, MaskMonitorHook
from medkit.engine.checkpoint import LoadReport, PretrainedBackbone, load_backbone
from medkit.engine.collapse import CollapseMonitorHook, output_spread
from medkit.engine.distributed import prepare_cpu_processes
from medkit.engine.knn_probe import KNNProbeHook
from medkit.engine.late_decay import LateDecayLR
from medkit.engine.optimizer import FreezeAwareOptimWrapperConstructor, PartsOptimWrapperConstructor
from medkit.engine.ramp import RampValueHook
from medkit.engine.reading import read_checkpoint, resolve_checkpoint
from medkit.engine.run_folder import RunFolderHook
from medkit.engine.saving import SafeCheckpointHook, resume_checkpoint
from medkit.engine.seeding import EpochSeedHook, IterSeedHook
from medkit.engine.simsiam_lr import FixPredictorLRHook
from medkit.engine.ssit_schedule import CosineValueHook, WarmupCosineLR
from medkit.engine.unfreeze import StepwiseUnfreezeHook

__all__ = [
    "Bf16OptimWrapper",
    "CollapseMonitorHook",
    "CosineValueHook",
    "EpochSeedHook",
    "FitHook",
    "FixPredictorLRHook",
    "FreezeAwareOptimWrapperConstructor",
    "IterSeedHook",
    "KNNProbeHook",
    "LateDecayLR",
    "LoadReport",
    "MaskMonitorHook",
    "PartsOptimWrapperConstructor",
    "PretrainedBackbone",
    "RampValueHook",
    "RunFolderHook",
    "SafeCheckpointHook",
    "StepwiseUnfreezeHook",
    "WarmupCosineLR",
    "load_backbone",
    "output_spread",
    "prepare_cpu_processes",
    "read_checkpoint",
    "resolve_checkpoint",
    "resume_checkpoint",
]
