"""Names of mmselfsup's SimSiam checkpoints in terms of mmpretrain's ``SimSiam``.

mmselfsup 1.x already uses mmpretrain's names: ``backbone.*``, ``neck.fc0.weight`` .. ``neck.bn2.*``,
``head.predictor.*``. mmselfsup 0.x stores every encoder weight twice, as ``encoder.0.*`` / ``encoder.1.*``
and as ``backbone.*`` / ``neck.*``. Both may carry ``module.`` in front, from a distributed run.
"""

from collections.abc import Mapping
from typing import TypeVar

from medkit.errors import WeightsError

T = TypeVar("T")

_ENCODER = {"encoder.0.": "backbone.", "encoder.1.": "neck."}


def convert_mmselfsup_state_dict(state_dict: Mapping[str, T]) -> dict[str, T]:
    """The same weights under the names of mmpretrain's ``SimSiam``; mmpretrain's own names pass unchanged.

    Args:
        state_dict: name to tensor; ``checkpoint['state_dict']`` of an mmselfsup 0.x or 1.x checkpoint.

    Raises:
        WeightsError: a whole checkpoint was passed, or the weights are not a SimSiam's.
    """
    if "state_dict" in state_dict:
        raise WeightsError("a whole checkpoint was passed, not weights; pass checkpoint['state_dict']")
    plain = {name.removeprefix("module."): value for name, value in state_dict.items()}
    converted = {name: value for name, value in plain.items() if not name.startswith(tuple(_ENCODER))}
    for old, new in _ENCODER.items():
        for name, value in plain.items():
            if name.startswith(old):
                converted.setdefault(new + name.removeprefix(old), value)
    if not any(name.startswith("backbone.") for name in converted):
        some = ", ".join(list(plain)[:3])
        raise WeightsError(
            f"no weight is named backbone.* or encoder.0.*; the first names are {some}; pass the "
            "state_dict of an mmselfsup SimSiam (a file with a backbone alone needs no conversion)"
        )
    return converted
