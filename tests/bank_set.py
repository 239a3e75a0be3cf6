"""A folder of feature banks, and one of ordinary bags, for the tests of giga-SSL."""

from pathlib import Path

import numpy as np

from medkit.data.bag_files import Bag, write_bag
from medkit.data.bank_files import Bank, write_bank

SIDE = 224  # level-0 pixels of a tile


def write_banks(root: Path, slides: int = 8, *, tiles: int = 7, width: int = 6, banks: bool = True) -> Path:
    """``slide0`` ... with labels in turn; the last two are of one patient. Features tell draw (channel 0) and tile."""
    rng, draws = np.random.default_rng(0), 3
    lines = ["slide_id,case_id,label,split"]
    for slide in range(slides):
        coords = rng.integers(0, 12, (draws, tiles, 2)) * SIDE
        features = rng.normal(size=(draws, tiles, width)) + slide
        features[..., 0], features[..., 1] = np.arange(draws)[:, None], np.arange(tiles)
        name = f"slide{slide}"
        if banks:
            write_bank(root / "banks" / f"{name}.h5", Bank(features, coords, float(SIDE), augmented=True))
        bag = Bag(features[0].astype(np.float32), coords[0], float(SIDE))
        write_bag(root / "features" / f"{name}.h5", bag)
        lines.append(f"{name},case{min(slide, slides - 2)},{slide % 2},train")
    (root / "bags.csv").write_text("\n".join(lines) + "\n")
    return root
