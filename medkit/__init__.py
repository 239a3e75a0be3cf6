"""medkit: training lesion detectors on medical images that have few labels, on OpenMMLab.

Importing the package is cheap: it imports neither torch nor any mm* package. It only installs two finders: one
supplies ``mmcv._ext`` on top of torchvision's kernels when mmcv has no working compiled one (`medkit.ops`), the other
resolves the names of mmselfsup, which was merged into mmpretrain (`medkit.compat`).
"""

from medkit.compat import install_mmselfsup_alias
from medkit.ops import install as _install_ops

__version__ = "0.1.0"

_install_ops()
install_mmselfsup_alias()
