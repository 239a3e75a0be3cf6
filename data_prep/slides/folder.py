"""The bag folder of a set of slides: tiles, pictures and ``slides.csv``, each slide by itself and taken up again.

    OUT/patches/SLIDE.h5  thumbnails/SLIDE.jpg  grids/SLIDE.jpg  slides.csv  slides.json (settings, and what is done)

A slide that fails has a row with the reason and stops no other. Command: ``python -m data_prep slides IN OUT``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import ExportError, MissingPixelSize, OptionError, SlideError
from ..images import write_whole
from ..progress import Display
from ..workers import crew, stream
from .pictures import draw_grid, write_jpeg
from .reader import SUFFIXES, Slide, open_slide
from .tiles import Patches, Tiling, place_tiles, write_patches
from .tissue import tissue_mask

COLUMNS = (
    "slide_id",
    "path",
    "width",
    "height",
    "mpp",
    "mpp_source",
    "tiles",
    "tissue",
    "thumbnail_downsample",
    "status",
    "reason",
)
THUMBNAIL_PX = 2048  # longer side
OK, FAILED = "ok", "failed"


@dataclass(frozen=True)
class PixelSizes:
    """Micrometres per pixel that a person gives: for named slides, and for slides whose file says none."""

    by_slide: Mapping[str, float] = field(default_factory=dict)
    otherwise: float | None = None

    def open(self, slide_id: str, path: Path) -> Slide:
        """The slide with the size that counts for it."""
        try:
            return open_slide(path, self.by_slide.get(slide_id))
        except MissingPixelSize:
            if self.otherwise is None:
                raise
            return open_slide(path, self.otherwise)

    def explain(self, row: Mapping) -> bool:
        """Whether a row was made with these sizes."""
        given = self.by_slide.get(row["slide_id"])
        if row["mpp_source"] != "given":
            return given is None
        return row["mpp"] == (self.otherwise if given is None else given)


def find_slides(source: Path) -> dict[str, Path]:
    """Slide files by their id, the name without its ending: of a folder with all below it, or one file.

    Raises:
        ExportError: nothing there, or two files of one id.
    """
    if not source.exists():
        raise ExportError(f"{source} does not exist; name a slide file or a folder of slides")
    files = [source] if source.is_file() else [p for p in sorted(source.rglob("*")) if _is_slide(p)]
    if not files:
        raise ExportError(f"{source} has no slide file; expected {', '.join(SUFFIXES)} (one .dcm is named itself)")
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise ExportError(f"two slide files of one id {path.stem!r}: {found[path.stem]} and {path}; rename one")
        found[path.stem] = path
    return found


def _is_slide(path: Path) -> bool:
    known = path.suffix.lower() in SUFFIXES and path.suffix.lower() != ".dcm"  # a DICOM slide is a folder of files
    return known and not path.name.startswith(".") and path.is_file()


def prepare_slide(slide_id: str, path: Path, out: Path, tiling: Tiling, sizes: PixelSizes) -> dict:
    """Write the files of one slide; returns its row of ``slides.csv``, also where it failed."""
    row = dict.fromkeys(COLUMNS, "") | {"slide_id": slide_id, "path": str(path.resolve()), "tiles": 0}
    patches = out / "patches" / f"{slide_id}.h5"
    patches.unlink(missing_ok=True)  # nothing of an earlier run stands beside a failure
    try:
        with sizes.open(slide_id, path) as slide:
            _tile(slide, patches, tiling, row)
    except SlideError as error:
        reason = " ".join(str(error).split())
        return row | {"status": FAILED, "reason": reason.removeprefix(str(path)).lstrip(": ")}
    return row | {"status": OK}


def _tile(slide: Slide, patches: Path, tiling: Tiling, row: dict) -> None:
    width, height = slide.size
    row.update(width=width, height=height, mpp=slide.mpp, mpp_source=slide.mpp_source)
    side = tiling.side_px(slide.mpp)
    image, downsample = slide.thumbnail(THUMBNAIL_PX)
    tissue = tissue_mask(image, slide.mpp * downsample)
    coords = place_tiles(slide.size, side, tissue, tiling)
    row.update(
        tiles=len(coords), tissue=round(float(tissue.mean()), 4), thumbnail_downsample=round(downsample, 6)
    )
    out, name = patches.parent.parent, f"{patches.stem}.jpg"
    write_jpeg(out / "thumbnails" / name, image)
    write_jpeg(out / "grids" / name, draw_grid(image, tissue, coords / downsample, side / downsample))
    if not len(coords):
        raise SlideError(
            f"{slide.path}: no tile of {tiling.tile * tiling.mpp:g} um has {tiling.min_tissue:.0%} tissue; look at "
            f"grids/{name}, lower --min-tissue, or leave the slide out"
        )
    write_patches(patches, Patches(coords, side, slide.mpp, tiling.tile), {"level_dim": slide.size})


@dataclass
class _State:
    """``slides.json``: the settings of the folder, and by slide its row and the file it was made of."""

    out: Path
    settings: dict
    slides: dict[str, dict]

    def save(self) -> None:
        """Write it, and ``slides.csv``."""
        content = {"settings": self.settings, "slides": self.slides}
        write_whole(self.out / "slides.json", (json.dumps(content, indent=1) + "\n").encode())
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: row[name] for name in COLUMNS} for _, row in sorted(self.slides.items()))
        write_whole(self.out / "slides.csv", text.getvalue().encode())

    def is_done(self, slide_id: str, path: Path, sizes: PixelSizes) -> bool:
        """Whether the slide's files are there, made of this file with these sizes."""
        row = self.slides.get(slide_id)
        if row is None or row["status"] != OK or row["stamp"] != _stamp(path) or not sizes.explain(row):
            return False
        files = (f"patches/{slide_id}.h5", f"thumbnails/{slide_id}.jpg", f"grids/{slide_id}.jpg")
        return all((self.out / file).is_file() for file in files)


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _load_state(out: Path, tiling: Tiling, overwrite: bool) -> _State:
    """The folder's state, empty for a new one.

    Raises:
        OptionError: the folder is of other settings, or not of this command.
    """
    path, settings = out / "slides.json", asdict(tiling)
    if not path.is_file():
        if any((out / name).exists() for name in ("patches", "slides.csv")):
            raise OptionError(f"OUT {out} has tiles but no slides.json: another program made them; name another folder")
        return _State(out, settings, {})
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        before, slides = content["settings"], content["slides"]
    except (ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{path} cannot be read ({error}); delete it and patches/, or name another OUT") from error
    if overwrite:
        return _State(out, settings, {})
    other = [f"{name} {before.get(name)} -> {value}" for name, value in settings.items() if before.get(name) != value]
    if other:
        raise OptionError(
            f"OUT {out} has tiles of other settings ({', '.join(other)}): name another folder, or make all "
            "of them anew with --overwrite"
        )
    return _State(out, settings, slides)


def _check_ids(slides: Mapping[str, Path], state: _State) -> None:
    """Refuse a slide whose id an earlier run into the same folder gave to another file that still exists."""
    for slide_id, path in slides.items():
        before = Path(state.slides.get(slide_id, {}).get("path", path))
        if before.is_file() and not before.samefile(path):
            raise ExportError(f"two slide files of one id {slide_id!r}: {before}, tiled before, and {path}; rename one")


def prepare_slides(
    source: Path,
    out: Path,
    tiling: Tiling,
    sizes: PixelSizes | None = None,
    jobs: int = 1,
    overwrite: bool = False,
    quiet: bool = False,
) -> Iterator[tuple[dict, bool]]:
    """Tile all slides of a file or folder into ``out``; yields each row, and whether it was there already.

    Raises:
        DataPrepError: nothing to read, two files of one id, ``out`` is of other settings.
        InterruptedRun: a worker died or the disk is full; the same call goes on where this one stopped.
    """
    sizes = sizes or PixelSizes()
    slides = find_slides(source)
    state = _load_state(out, tiling, overwrite)
    _check_ids(slides, state)
    done = [slide_id for slide_id, path in slides.items() if state.is_done(slide_id, path, sizes)]
    for slide_id in done:
        state.slides[slide_id]["path"] = str(slides[slide_id].resolve())
        yield state.slides[slide_id], True
    todo = [(slide_id, path, out, tiling, sizes) for slide_id, path in slides.items() if slide_id not in set(done)]
    out.mkdir(parents=True, exist_ok=True)
    with crew(min(jobs, max(1, len(todo)))) as team, Display(quiet).bar("slides", len(slides), len(done)) as bar:
        for number, row, _ in stream(team, prepare_slide, enumerate(todo)):
            state.slides[row["slide_id"]] = row | {"stamp": _stamp(todo[number][1])}
            state.save()
            bar.update()
            yield row, False
    state.save()


def read_slides(out: str | Path) -> list[dict[str, str]]:
    """Rows of ``slides.csv`` whose slides were tiled.

    Raises:
        ExportError: no such file, or no such row.
    """
    path = Path(out) / "slides.csv"
    if not path.is_file():
        raise ExportError(f"{path} does not exist; run `python -m data_prep slides IN {out}` first")
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["status"] == OK]
    if not rows:
        raise ExportError(f"{path} has no slide that was tiled; its column reason says why")
    return rows
