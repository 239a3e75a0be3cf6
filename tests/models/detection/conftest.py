"""Makes ``mmcv.ops`` importable before a test imports mmdet."""

import medkit  # noqa: F401
