"""Images without labels, each with a saliency map: what SSiT (Huang et al., JBHI 2024) pre-trains on.

Command: ``python tools/train.py configs/ssit_vit-s_fundus.py``.
"""

from pathlib import Path

from PIL import Image, UnidentifiedImageError

from medkit.data.unlabelled import UnlabelledImages
from medkit.errors import DatasetError
from medkit.registry import DATASETS


@DATASETS.register_module()
class SaliencyImages(UnlabelledImages):
    """`UnlabelledImages` whose samples also carry ``map_path``: images/a/b.jpg has the map saliency/a/b.png.

    All maps are looked at before training; of images and maps only the headers are read.

    Args:
        ann_file: as `UnlabelledImages`.
        data_prefix: ``dict(img='images/', map='saliency/')``, folders of images and maps under ``data_root``.
        check_sizes: compare the size of each map with that of its image.
        kwargs: as `UnlabelledImages`.

    Raises:
        DatasetError: as `UnlabelledImages`; or a map is missing, unreadable, or of another size than its image.
    """

    def __init__(
        self, ann_file: str = "", *, data_prefix: dict | None = None, check_sizes: bool = True, **kwargs
    ) -> None:
        self.check_sizes = check_sizes
        prefix = {"img": "images/", "map": "saliency/", **(data_prefix or {})}
        super().__init__(ann_file, data_prefix=prefix, **kwargs)

    def load_data_list(self) -> list[dict]:
        """List images with their maps, sorted by name."""
        samples = super().load_data_list()
        folder = Path(self.data_prefix["map"])
        for sample in samples:
            name = Path(sample["img_path"]).relative_to(self.data_prefix["img"]).with_suffix(".png")
            sample["map_path"] = str(folder / name)
        missing = [sample for sample in samples if not Path(sample["map_path"]).is_file()]
        if missing:
            raise DatasetError(
                f"{len(missing)} of {len(samples)} images have no saliency map (first: {missing[0]['img_path']}, "
                f"expected {missing[0]['map_path']}); {self._advice()}"
            )
        if self.check_sizes:
            self._refuse_other_sizes(samples)
        return samples

    def _refuse_other_sizes(self, samples: list[dict]) -> None:
        found = [(_header_size(sample["img_path"]), _header_size(sample["map_path"])) for sample in samples]
        wrong = [number for number, (image, map_) in enumerate(found) if image != map_]
        if wrong:
            sample, ((width, height), (map_width, map_height)) = samples[wrong[0]], found[wrong[0]]
            raise DatasetError(
                f"{len(wrong)} of {len(samples)} saliency maps are of another size than their image (first: "
                f"{sample['map_path']} is {map_width} x {map_height}, {sample['img_path']} is {width} x {height}); "
                f"{self._advice()}"
            )

    def _advice(self) -> str:
        root = self.data_root or Path(self.data_prefix["img"]).parent
        circle = " --circle" if Path(root, "labels.csv").is_file() else ""
        again = " --overwrite" if Path(self.data_prefix["map"]).is_dir() else ""
        return f"write the maps with `python -m data_prep saliency {root}{circle}{again}`"


def _header_size(path: str) -> tuple[int, int]:
    """Width and height that the header of an image file states.

    Raises:
        DatasetError: the file is no image.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{path} is no readable image ({error}); run data_prep again") from error
