"""A small set of studies of images with a known answer: a white square in as many images as the class says."""

import csv
from pathlib import Path

import cv2
import numpy as np


def write_image_bags(root: Path, studies: int = 8, num_classes: int = 2, side: int = 32, table: bool = True) -> Path:
    """Studies s00, s01, ... of 3 to 5 noisy images, two of a patient, classes in turn, the last half in split val.

    Args:
        root: made where absent.
        studies: how many.
        num_classes: class c has the square in c of its images.
        side: of the images, px.
        table: images.csv with order (rows shuffled) and label; otherwise folders whose names sort by number.
    """
    rng = np.random.default_rng(0)
    bags, images = [], []
    for number in range(studies):
        study, label = f"s{number:02d}", number // 2 % num_classes
        count = 3 + number % 3
        marked = set(rng.permutation(count)[:label].tolist())
        for place in range(count):
            pixels = rng.integers(60, 120, (side, side, 3), np.uint8)
            pixels[0, 0] = place  # which image it is, to be read back
            if place in marked:
                pixels[side // 4 : side // 2, side // 4 : side // 2] = 255
            name = f"images/{study}/{place + 8}.png"  # 8, 9, 10, 11: as text 10 comes first
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name), pixels)
            images.append(dict(slide_id=study, file=name, order=place, label=int(place in marked)))
        bags.append(dict(slide_id=study, case_id=f"p{number // 2}", label=label, split=_split(number, studies)))
    write_rows(root / "bags.csv", bags)
    if table:
        write_rows(root / "images.csv", [images[i] for i in rng.permutation(len(images))])
    return root


def write_rows(path: Path, rows: list[dict]) -> Path:
    """A csv with the columns of the first row."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict]:
    """Rows of a csv."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _split(number: int, studies: int) -> str:
    return "train" if number < studies // 2 else "val"
