"""Slide files: the pixels at a physical size, who says the pixel size, plain TIFFs, what is refused and how."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_prep.errors import MissingPixelSize, OptionError, SlideError
from data_prep.slides import reader
from data_prep.slides.pyramid import write_pyramid
from data_prep.slides.reader import open_slide
from tests.slide_set import write_slide

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("openslide")


def difference(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b.astype(int)).max())


def write_plain(path: Path, image: np.ndarray, mpp: float | None = None, **how: object) -> None:
    """A TIFF without tiles, which OpenSlide refuses."""
    size = {} if mpp is None else {"resolution": (1e4 / mpp, 1e4 / mpp), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(path, image, **{"photometric": "rgb", "metadata": None, **size, **how})


def test_a_pyramid_has_its_pixel_size_and_its_pixels(tmp_path: Path) -> None:
    image = write_slide(tmp_path / "a.tif", mpp=0.2527)
    with open_slide(tmp_path / "a.tif") as slide:
        assert slide.size == (900, 700) and slide.mpp == pytest.approx(0.2527) and len(slide.downsamples) == 3
        assert slide.mpp_source == "resolution tag"
        assert np.array_equal(slide.read(450, 300, 64, 64), image[300:364, 450:514])
        for times in (2, 4):  # from levels 1 and 2: the average of the same pixels but for rounding
            square = image[200 : 200 + 32 * times, 400 : 400 + 32 * times]
            wanted = cv2.resize(square, (32, 32), interpolation=cv2.INTER_AREA)
            assert difference(slide.read(400, 200, 32 * times, 32), wanted) <= 2
        beyond = slide.read(890, 690, 20, 20)
        assert np.array_equal(beyond[:10, :10], image[690:, 890:]) and (beyond[10:] == 255).all()


def test_jpeg_keeps_colours(tmp_path: Path) -> None:
    image = write_slide(tmp_path / "a.tif", codec="jpeg")
    with open_slide(tmp_path / "a.tif") as slide:
        assert np.abs(slide.read(300, 200, 256, 256).astype(int) - image[200:456, 300:556]).mean() < 6
        assert np.abs(slide.read(0, 0, 40, 40).astype(int) - 244).max() <= 2


def test_a_given_pixel_size_counts(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tif", mpp=0.5)
    with open_slide(tmp_path / "a.tif", mpp=0.25) as slide:
        assert (slide.mpp, slide.mpp_source) == (0.25, "given")
    with pytest.raises(SlideError, match="mpp=-1"):
        open_slide(tmp_path / "a.tif", mpp=-1)


@pytest.mark.parametrize(
    "how", [{}, {"compression": "deflate", "rowsperstrip": 7}, {"compression": "lzw"}], ids=["plain", "strips", "lzw"]
)
def test_what_openslide_refuses_is_read_with_tifffile(tmp_path: Path, how: dict) -> None:
    image = write_slide(tmp_path / "a.tif")
    write_plain(tmp_path / "b.tif", image, 0.5, **how)
    with open_slide(tmp_path / "b.tif") as plain, open_slide(tmp_path / "a.tif") as tiled:
        assert (plain.size, plain.mpp, plain.mpp_source) == ((900, 700), 0.5, "resolution tag")
        assert np.array_equal(plain.read(450, 300, 64, 64), image[300:364, 450:514])
        assert np.array_equal(plain.read(880, -10, 40, 40), tiled.read(880, -10, 40, 40))
        assert difference(plain.thumbnail(225)[0], tiled.thumbnail(225)[0]) <= 2


@pytest.mark.parametrize(
    ("dots", "says"), [((72, 72), "352.8 x 352.8 um"), ((50_000, 25_000), "not square, 0.508 x 1.016 um")]
)
def test_resolution_tags_that_no_scanner_writes_are_not_believed(tmp_path: Path, dots: tuple, says: str) -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    for name, how in (("plain.tif", {}), ("tiled.tif", {"tile": (32, 32)})):
        write_plain(tmp_path / name, image, resolution=dots, resolutionunit="INCH", **how)
        with pytest.raises(MissingPixelSize, match=f"{says}.*--mpp-override"):
            open_slide(tmp_path / name)


def test_no_resolution_tag_is_no_guess(tmp_path: Path) -> None:
    write_plain(tmp_path / "a.tif", np.full((64, 64, 3), 200, np.uint8))
    with pytest.raises(MissingPixelSize, match=r"--mpp-override 0\.25"):
        open_slide(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif", mpp=0.5) as slide:
        assert slide.mpp == 0.5


def test_files_that_are_no_slides_are_named(tmp_path: Path) -> None:
    image = write_slide(tmp_path / "a.tif")
    write_plain(tmp_path / "b.tif", image, 0.5)
    (tmp_path / "text.svs").write_text("no picture")
    (tmp_path / "empty.tif").write_bytes(b"")
    (tmp_path / "cut.tif").write_bytes((tmp_path / "b.tif").read_bytes()[:900_000])
    write_plain(tmp_path / "deep.tif", image.astype(np.uint16), 0.5)
    write_plain(tmp_path / "grey.tif", image[..., 0], 0.5, photometric="minisblack")
    for name in ("text.svs", "empty.tif", "cut.tif", "deep.tif", "grey.tif", "absent.svs"):
        with pytest.raises(SlideError, match=name), open_slide(tmp_path / name) as slide:
            slide.read(0, 600, 64, 64)


def test_a_pyramid_with_broken_tiles_is_named(tmp_path: Path) -> None:
    write_slide(tmp_path / "a.tif", codec="jpeg")
    whole = (tmp_path / "a.tif").read_bytes()
    page = tifffile.TiffFile(tmp_path / "a.tif").pages[0]
    first, size = page.dataoffsets[0], sum(page.databytecounts)
    (tmp_path / "a.tif").write_bytes(whole[:first] + bytes(size) + whole[first + size :])
    with pytest.raises(SlideError, match=r"a\.tif: broken"), open_slide(tmp_path / "a.tif") as slide:
        slide.read(0, 0, 256, 256)


def test_a_thumbnail_in_bands_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_slide(tmp_path / "a.tif")
    with open_slide(tmp_path / "a.tif") as slide:
        whole, downsample = slide.thumbnail(600)
        assert whole.shape == (467, 600, 3) and downsample == 1.5
        monkeypatch.setattr(reader, "BAND_PX", 900 * 60)
        assert np.abs(slide.thumbnail(600)[0].astype(int) - whole).mean() < 3  # bands end at whole pixels
        assert slide.thumbnail(5000)[0].shape == (700, 900, 3)  # never enlarged


def test_what_a_scanner_left_out_is_white() -> None:
    rgba = np.array([[[10, 20, 30, 255], [0, 0, 0, 0]]], np.uint8)
    assert reader._on_white(rgba).tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("bad", [dict(mpp=0.0), dict(levels=0), dict(levels=12), dict(codec="gif")])
def test_the_writer_refuses(tmp_path: Path, bad: dict) -> None:
    with pytest.raises(OptionError):
        write_pyramid(tmp_path / "a.tif", np.zeros((64, 64, 3), np.uint8), **{"mpp": 0.5, **bad})
    assert not list(tmp_path.iterdir())
