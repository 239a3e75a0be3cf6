"""report.csv and report.html: complete, self-contained, the same bytes, and honest about leaks."""

import ast
import base64
import csv
import html
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import data_prep
from data_prep.__main__ import main
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.report.codes import CODES, markdown
from data_prep.report.facts import BINS, boxes_of, collect, read_pairs
from data_prep.report.figures import area_shares, expand
from data_prep.report.thumbs import data_uri, locate
from data_prep.summary import REPORT_COLUMNS

from .conftest import sector

ROOT = Path(data_prep.__file__).parent
EVIL = "<script>alert('x & y')</script>.png"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """An export with a name that is HTML, a scale, a near-duplicate, a label conflict and odd boxes; and its output."""
    from .conftest import TinyExport

    tiny = TinyExport(tmp_path_factory.mktemp("report") / "export").fill(14, 2)
    tiny.add(EVIL.replace("/", "_"), sector(50), patient_id="<b>P</b>")
    scale = np.stack([sector(8)] * 3, axis=2)
    scale[30:300, 440:446] = (250, 230, 30)
    tiny.add("scale.jpg", scale)
    tiny.add("near.png", np.roll(sector(1000), 3, axis=1), patient_id="P0")
    tiny.add("conflict.png", sector(7))
    tiny.add("conflict_too.png", sector(7), diagnosis="HCC", boxes="100,100,160,150,HCC")
    tiny.add("boxes.png", sector(6), boxes="-20,50,90,100,cyst;10,10,12.5,60,cyst;0,0,450,410,cyst;5,5,2,9,cyst")
    tiny.add("gone.png")
    tiny.add("small.png", sector(2, 300, 300))
    out = tiny.folder.parent / "out"
    prepare(tiny.save(), out, Options(quiet=True))
    return tiny.folder, out


def rows_of(out) -> dict[str, dict[str, str]]:
    with (out / "report.csv").open(newline="", encoding="utf-8") as handle:
        return {row["file"]: row for row in csv.DictReader(handle)}


def test_a_row_tells_boxes_before_and_after_and_why(run):
    rows = rows_of(run[1])
    assert tuple(next(iter(rows.values()))) == REPORT_COLUMNS
    row = rows["boxes.png"]
    assert row["boxes_before"] == "-20,50,90,100,cyst;10,10,12.5,60,cyst;0,0,450,410,cyst;5,5,2,9,cyst"
    assert row["boxes_after"] == "0,50,90,100,cyst;10,10,12.5,60,cyst;0,0,450,410,cyst"
    assert (row["boxes_in"], row["boxes_out"]) == ("4", "3")
    codes = [note.split("(")[0] for note in row["notes"].split("; ")]
    assert codes == ["box_clipped", "box_tiny", "box_huge", "box_inverted"]
    assert (rows["small.png"]["boxes_before"], rows["small.png"]["boxes_after"]) == ("100,100,160,150,cyst", "")
    assert rows["gone.png"]["status"] == "dropped"
    assert int(rows["scale.jpg"]["overlay_pixels"]) > 500 and rows["scale.jpg"]["overlay_in_boxes"] == "0"
    assert rows["near.png"]["status"] == "dropped" or rows["good00_0.jpg"]["status"] == "dropped"


class Page(HTMLParser):
    """Tags, sources and alternative texts of a page; fails on tags that are not closed in order."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.images: list[dict] = []
        self.text: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        assert not any(name in ("href", "onload", "srcset") for name, _ in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_one_file_with_escaped_names_and_alt_texts(run):
    text = (run[1] / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(text) < 2_000_000 and "script" not in page.tags and "b" in page.tags
    assert "<script" not in text and "http" not in re.sub(r'src="data:[^"]*"', "", text)
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.images)
    names = [image["src"][:19] for image in page.images]
    assert names.count("data:image/svg+xml;") == 4 and len(page.images) >= 4 + 2 + 2 + 2 + 3
    words = " ".join(page.text)
    for part in (
        *("31 of 36 images stay", "2 label conflict", "No patient and no near-duplicate pair stands on two sides"),
        *("conflict.png", "cyst here, HCC there", "scale.jpg", "box_huge: boxes.png", "no_file", "80.0 %"),
    ):
        assert part in words, part


def test_names_that_are_html_are_shown_as_text(run, tmp_path):
    """A file name, a patient and a class of markup, in every place where the page shows them."""
    export, out = run
    copy = tmp_path / "out"
    copy.mkdir()
    for name in ("report.csv", "summary.json", "duplicate_pairs.csv"):
        text = (out / name).read_text(encoding="utf-8")
        for plain in ("near.png", "conflict.png", "boxes.png", "hemangioma", "scale.jpg", "good00_0.jpg"):
            text = text.replace(plain, f"<script>{plain}</script>&<i>")
        (copy / name).write_text(text, encoding="utf-8")
    assert main(["report", str(copy), str(export)]) == 0
    text = (copy / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "<script" not in text and "i" not in page.tags and html.escape("<script>near.png</script>") in text
    assert "(not shown)" in text


def test_the_command_writes_the_same_bytes_again(run, capsys):
    export, out = run
    before = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    assert main(["report", str(out), str(export)]) == 0
    assert (out / "report.html").read_bytes() == before
    capsys.readouterr()
    for bad, message in (([str(export), str(export)], "is no output"), ([str(out), "none"], "no folder none")):
        assert main(["report", *bad]) == 2
        assert message in capsys.readouterr().err


def test_leaks_are_seen_in_the_files_alone(run, tmp_path):
    _, out = run
    for name in ("report.csv", "summary.json", "duplicate_pairs.csv"):
        (tmp_path / name).write_bytes((out / name).read_bytes())
    assert collect(tmp_path).two_sides == []
    rows = rows_of(out)
    kept = [row for row in rows.values() if row["split"]]
    first = next(row for row in kept if sum(row["patient_id"] == other["patient_id"] for other in kept) > 1)
    other = next(row for row in kept if row["split"] != first["split"])
    with (tmp_path / "duplicate_pairs.csv").open("a") as handle:
        handle.write(f"{first['file']},{other['file']},1,0.9\n")
    assert collect(tmp_path).two_sides == [f"{first['file']} = {other['file']}"]
    twin = next(row for row in kept if row["patient_id"] == first["patient_id"] and row is not first)
    twin["split"] = other["split"]
    with (tmp_path / "report.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, REPORT_COLUMNS)
        writer.writeheader()
        writer.writerows(rows.values())
    assert f"patient {first['patient_id']}" in collect(tmp_path).two_sides
    main(["report", str(tmp_path), str(run[0])])
    assert "The split leaks: 2 patients" in (tmp_path / "report.html").read_text()


def test_groups_and_bins(tmp_path):
    (tmp_path / "p.csv").write_text("a,b,hash_distance,correlation\nx,y,1,0.9\ny,z,2,0.95\nu,v,0,1.0\n")
    pairs = read_pairs(tmp_path / "p.csv")
    assert pairs.groups == [["x", "y", "z"], ["u", "v"]]
    assert pairs.doubtful(1) == [("x", "y", 1, 0.9)]
    assert expand(Counter({3: 2, 1: 1})).tolist() == [1, 3, 3]
    assert area_shares(Counter({-BINS: 1}))[0] == pytest.approx(10, rel=0.06)
    assert boxes_of("1,2,3,4,a,b;5,6,7,8,c") == [(1, 2, 3, 4, "a,b"), (5, 6, 7, 8, "c")]


def test_originals_are_found(tmp_path):
    for name in ("images/a[1].png", "JPEGImages/b.jpg", "scan.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert locate(tmp_path, "a[1].png") == (tmp_path / "images/a[1].png", None)
    assert locate(tmp_path, "b.jpg") == (tmp_path / "JPEGImages/b.jpg", None)
    assert locate(tmp_path, "scan.dcm#0003") == (tmp_path / "scan.dcm", 3)
    assert locate(tmp_path, "gone.png") == (None, None)


def test_thumbnails_are_small_and_show_the_box():
    for pixels in (sector(0), np.stack([sector(0)] * 3, axis=2)):
        assert len(base64.b64decode(data_uri(pixels, 150).split(",")[1])) < 12_000
        assert data_uri(pixels, 150, [(10, 10, 90, 90, "cyst")]) != data_uri(pixels, 150)


NO_CODES = {"mm_per_pixel", "patient_id"}
PLACE = {"drop": 1, "note": 1, "UnreadableImage": 0}


def code_nodes(tree: ast.AST, pairs: bool):
    """Expressions that give a code: arguments of ``drop``, ``note``, ``UnreadableImage``; and ("code", detail)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            place = PLACE.get(getattr(node.func, "attr", getattr(node.func, "id", "")))
            if place is not None and len(node.args) > place:
                yield node.args[place]
        elif pairs and isinstance(node, ast.Tuple) and len(node.elts) == 2:
            yield node.elts[0]


def codes_in_the_source() -> set[str]:
    found = set()
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pairs = path.name in ("listing.py", "tasks.py") or path == ROOT / "dicom.py"
        for node in code_nodes(tree, pairs) if "phantom" not in path.parts else ():
            words = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
            found |= {word for word in words if isinstance(word, str) and re.fullmatch(r"[a-z]+(_[a-z]+)+", word)}
    assert len(found) > 50
    return found - NO_CODES


def test_every_code_stands_in_the_table_of_the_docs():
    missing = codes_in_the_source() - CODES.keys()
    assert not missing, f"add to data_prep/report/codes.py: {sorted(missing)}"
    page = (ROOT.parent / "docs" / "data_prep_report.md").read_text(encoding="utf-8")
    assert markdown() in page, "put the output of `python -m data_prep report --codes` into docs/data_prep_report.md"
