"""All weights of a model from a checkpoint of it: everything fits, or nothing is loaded and the difference is named.

`medkit.engine.checkpoint` takes a backbone out of a checkpoint of something larger. Used by ``python tools/score.py``
and ``python tools/crossval.py``.
"""

from pathlib import Path

from torch import nn

from medkit.engine.reading import read_checkpoint
from medkit.errors import WeightsError

__all__ = ["load_whole"]


def load_whole(model: nn.Module, checkpoint: str | Path) -> None:
    """Load everything, fitted state too, and insist that it fits.

    Raises:
        WeightsError: missing or unreadable file, or names or shapes that differ from the model's.
    """
    content = read_checkpoint(checkpoint)
    weights = {name.removeprefix("module."): value for name, value in content.get("state_dict", content).items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:400]
        raise WeightsError(
            f"{checkpoint} does not fit {type(model).__name__}: {said}; take the config, and the --cfg-options, that "
            "it was trained with"
        ) from error
