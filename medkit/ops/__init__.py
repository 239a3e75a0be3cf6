"""The operators of ``mmcv.ops`` without a compiled mmcv, on torchvision's kernels and plain PyTorch.

`install` puts a finder for the module ``mmcv._ext`` in front of Python's own. A compiled ``mmcv._ext`` that
works is left alone; where it is absent or broken, `medkit.ops.standin` takes its place. `medkit` calls
`install` when it is imported, which costs nothing: torch and mmcv are imported only when ``mmcv._ext`` is
asked for.

``python -m medkit.doctor`` shows which back-end serves each operator.
"""

from medkit.ops.finder import EXT_NAME, Backend, backend, install

__all__ = ["EXT_NAME", "Backend", "backend", "install"]
