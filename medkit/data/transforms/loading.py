"""Load medical images: 8-bit as they are, 16-bit through a window, and, if wanted, once only per size.

In a config: ``dict(type='medkit.LoadMedicalImage')`` in place of mmdet's ``LoadImageFromFile``, or, for
training at a fraction of the original size, ``dict(type='medkit.LoadResized', scale=(128, 128),
cache_dir='data/liver/cache')`` in place of that and ``Resize(keep_ratio=True)``. ``python tools/benchmark.py
pipeline`` times them.
"""

import hashlib
import tempfile
from pathlib import Path

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Resize
from mmdet.structures.bbox import autocast_box_type

from medkit.errors import ConfigError, DatasetError
from medkit.pixels import scale_to_uint8
from medkit.registry import TRANSFORMS

_FLAGS = (
    cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
)  # grey stays one channel; turned upright as IMREAD_COLOR does


def read_image(
    path: str | Path,
    window: tuple[float, float] | None = None,
    percentiles: tuple[float, float] = (0.5, 99.5),
) -> np.ndarray:
    """Decode one file to uint8, (H, W) for grey or (H, W, 3) in BGR; alpha is dropped.

    Args:
        path: PNG, JPEG, TIFF, ... of 8 or more bits.
        window: Lowest and highest value shown of an image deeper than 8 bits; 8-bit images are never
            windowed.
        percentiles: Window of a deep image where ``window`` is None, in per cent of its own values.

    Raises:
        DatasetError: the file is missing, empty or no image.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"image {path} cannot be read ({error.strerror}); run data_prep again") from error
    image = cv2.imdecode(data, _FLAGS) if data.size else None
    if image is None:
        raise DatasetError(
            f"image {path} ({data.size} bytes) cannot be decoded; expected PNG, JPEG or TIFF; replace the "
            "file, or run data_prep, which drops unreadable files"
        )
    if image.dtype == np.uint8:
        return image
    return scale_to_uint8(image, window, percentiles)


def _check_window(window: tuple[float, float] | None, percentiles: tuple[float, float]) -> None:
    if window is not None and not window[0] < window[1]:
        raise ConfigError(
            f"window is {window}; expected (low, high) with low < high in the values of the file"
        )
    if not 0 <= percentiles[0] < percentiles[1] <= 100:
        raise ConfigError(f"percentiles are {percentiles}; expected 0 <= low < high <= 100")


def _to_bgr(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image


@TRANSFORMS.register_module()
class LoadMedicalImage(BaseTransform):
    """Set ``img`` (H, W, 3) uint8 BGR, ``img_shape`` and ``ori_shape`` from ``img_path``.

    An 8-bit file gives what mmdet's ``LoadImageFromFile`` gives. mmdet cuts a 16-bit file to its upper byte,
    which leaves a 12-bit image with 16 grey levels; here a window is mapped to 0..255.

    Args:
        window: Lowest and highest value shown, for files deeper than 8 bits.
        percentiles: Window of each image by its own values, where ``window`` is None.
    """

    def __init__(
        self, window: tuple[float, float] | None = None, percentiles: tuple[float, float] = (0.5, 99.5)
    ) -> None:
        _check_window(window, percentiles)
        self.window, self.percentiles = window, percentiles

    def transform(self, results: dict) -> dict:
        """Load the image; `DatasetError` names a file that cannot be decoded."""
        image = _to_bgr(read_image(results["img_path"], self.window, self.percentiles))
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(window={self.window}, percentiles={self.percentiles})"


@TRANSFORMS.register_module()
class LoadResized(Resize):
    """``LoadMedicalImage`` and mmdet's ``Resize(keep_ratio=True)`` in one; grey stays one channel to the end.

    All keys are as those two leave them (``ori_shape``, ``img_shape``, ``scale_factor``, ...). Boxes are
    scaled if ``LoadAnnotations`` stands before; in a test pipeline it stands after, since COCO boxes are in
    original pixels.

    With ``cache_dir`` the resized image is kept there and the original is decoded once for all epochs,
    workers, ranks and runs: for a 640 x 480 PNG that is most of the loading time. A file changed since then,
    or other settings, give another entry; the folder may be deleted at any time.

    Args:
        scale: (width, height) that the image must fit in.
        cache_dir: Folder of resized images, created when needed; None decodes each time.
        window: As `LoadMedicalImage`.
        percentiles: As `LoadMedicalImage`.
        kwargs: As mmdet's ``Resize``; ``interpolation='area'`` keeps speckle from aliasing when images
            shrink a lot.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        cache_dir: str | None = None,
        window: tuple[float, float] | None = None,
        percentiles: tuple[float, float] = (0.5, 99.5),
        **kwargs,
    ) -> None:
        _check_window(window, percentiles)
        size = (scale, scale) if isinstance(scale, int) else tuple(scale)
        super().__init__(scale=size, keep_ratio=True, **kwargs)
        self.cache_dir = Path(cache_dir) if cache_dir else None
        self.window, self.percentiles = window, percentiles

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Load and resize the image, and scale ``gt_bboxes`` if they are there already."""
        image, ori_shape = self._load(results["img_path"])
        (height, width), (ori_height, ori_width) = image.shape[:2], ori_shape
        results.update(
            img=_to_bgr(image),
            img_shape=(height, width),
            ori_shape=ori_shape,
            scale=self.scale,
            scale_factor=(width / ori_width, height / ori_height),
            keep_ratio=True,
        )
        self._resize_bboxes(results)
        self._record_homography_matrix(results)
        return results

    def _load(self, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        """Resized image, (H, W) or (H, W, 3), and the original height and width."""
        if self.cache_dir is None:
            return self._decode(path)
        entry = self.cache_dir / f"{self._key(path)}.npy"
        try:
            with entry.open("rb") as file:
                ori_height, ori_width = np.load(file).tolist()
                return np.load(file), (ori_height, ori_width)
        except FileNotFoundError:
            image, ori_shape = self._decode(path)
            _write_atomically(entry, np.array(ori_shape), image)
            return image, ori_shape

    def _decode(self, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        image = read_image(path, self.window, self.percentiles)
        results: dict = {"img": image, "scale": self.scale}
        self._resize_img(results)
        height, width = image.shape[:2]
        return results["img"], (height, width)

    def _key(self, path: str) -> str:
        try:
            stat = Path(path).stat()
        except OSError as error:
            raise DatasetError(
                f"image {path} cannot be read ({error.strerror}); run data_prep again"
            ) from error
        settings = (self.scale, self.interpolation, self.backend, self.window, self.percentiles)
        content = repr((str(Path(path).resolve()), stat.st_mtime_ns, stat.st_size, settings))
        return hashlib.sha1(content.encode(), usedforsecurity=False).hexdigest()


def _write_atomically(path: Path, *arrays: np.ndarray) -> None:
    """Write arrays one after the other; other processes see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        for array in arrays:
            np.save(file, array)
    Path(file.name).chmod(0o644)  # other users may share the cache
    Path(file.name).replace(path)
