"""Configs and checkpoints of mmselfsup, which was merged into mmpretrain, run on mmpretrain's classes.

mmselfsup's last package (1.0.0) refuses to import beside mmcv >= 2.1. mmengine imports ``mmselfsup.registry``
when a config says ``type='mmselfsup.SimSiam'``, ``_scope_='mmselfsup'`` or ``default_scope='mmselfsup'``; the
finder installed here answers with registries that forward to mmpretrain's. ``mmcls``, whose data sets the old
configs use, likewise.

Old checkpoints: `convert_mmselfsup_state_dict`.
"""

from medkit.compat.alias import install_mmselfsup_alias, register_mmselfsup
from medkit.compat.checkpoint import convert_mmselfsup_state_dict

__all__ = ["convert_mmselfsup_state_dict", "install_mmselfsup_alias", "register_mmselfsup"]
