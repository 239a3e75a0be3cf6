"""medkit: training lesion detectors on medical images that have few labels, on OpenMMLab.

Importing the package is cheap: it imports neither torch nor any mm* package. It only installs the finder that
supplies ``mmcv._ext`` on top of torchvision's kernels when mmcv has no working compiled one (see `medkit.ops`).
"""

from medkit.ops import install as _install_ops

__version__ = "0.1.0"

_install_ops()
