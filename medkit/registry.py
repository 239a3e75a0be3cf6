"""Child registries of mmengine's, scope ``medkit``: a module is imported when a config first names one of its types.

Configs write ``type='medkit.CenterNetHead'``; mmengine then imports this file, and the locations below on demand.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry


def _child(name: str, parent: Registry, *locations: str) -> Registry:
    return Registry(name, parent=parent, scope="medkit", locations=list(locations))


_FAMILIES = ("detection", "selfsup", "anomaly", "volumes", "mil", "common")
MODELS = _child("model", MMENGINE_MODELS, *(f"medkit.models.{family}" for family in _FAMILIES))
HOOKS = _child("hook", MMENGINE_HOOKS, "medkit.engine")
OPTIM_WRAPPERS = _child("optim_wrapper", MMENGINE_OPTIM_WRAPPERS, "medkit.engine")
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    "optimizer wrapper constructor", MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, "medkit.engine"
)
PARAM_SCHEDULERS = _child("parameter scheduler", MMENGINE_PARAM_SCHEDULERS, "medkit.engine")
WEIGHT_INITIALIZERS = _child("weight initializer", MMENGINE_WEIGHT_INITIALIZERS, "medkit.engine")
METRICS = _child("metric", MMENGINE_METRICS, "medkit.evaluation.metrics")
DATA_SAMPLERS = _child("data sampler", MMENGINE_DATA_SAMPLERS, "medkit.data")
DATASETS = _child("dataset", MMENGINE_DATASETS, "medkit.data")
TRANSFORMS = _child("transform", MMENGINE_TRANSFORMS, "medkit.data.transforms")
