import contextlib
import importlib
import io
import json
from pathlib import Path

import pytest
from pycocotools.coco import COCO

import data_prep
from data_prep.__main__ import main
from data_prep.coco import coco_dict, command_line, number_records, run_facts, write_annotations
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.records import LIVER_CLASSES, Export, Lesion, Record

QUIET = Options(quiet=True)


def load(path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def record(number: int, boxes: int = 1, **values) -> Record:
    lesions = [Lesion((1.0 + i % 90, 2.0, 11.125 + i % 90, 22.0), LIVER_CLASSES[i % 4]) for i in range(boxes)]
    name = f"{number}.png"
    return Record(name, Path(name), f"p{number}", lesions=lesions, width=120, height=90, out_file=name, **values)


def write(folder: Path, records, options: Options) -> dict:
    facts = run_facts(records, options, Export(records, LIVER_CLASSES, "table", True), "abc")
    write_annotations(records, LIVER_CLASSES, folder, facts, options)
    return facts


def test_the_version_is_that_of_medkit():
    text = (Path(__file__).parents[2] / "medkit" / "__init__.py").read_text()
    assert f'__version__ = "{data_prep.__version__}"' in text


def test_ids_are_unique_beyond_ten_thousand_boxes_of_an_image():
    records = [record(0, 10_050), record(1, 3), record(2, 0), record(3, 2)]
    ids = number_records(records)
    found = [a["id"] for r in records for a in coco_dict([r], LIVER_CLASSES, ids, {})["annotations"]]
    assert found == list(range(1, 10_056))
    assert [ids[r.file][0] for r in records] == [1, 2, 3, 4]


def test_boxes_are_xywh_and_image_fields_hold_everything_known():
    one = record(1, 1, age=50, sex="F", diagnosis="cyst", extra={"view": "left", "day": 3, "id": "x7", "width": 1})
    content = coco_dict([one], LIVER_CLASSES, number_records([one]), {})
    image = content["images"][0]
    assert (image["patient_id"], image["age"], image["sex"], image["diagnosis"]) == ("p1", 50, "F", "cyst")
    assert (image["view"], image["day"], image["extra_id"], image["extra_width"]) == ("left", 3, "x7", 1)
    assert (image["id"], image["width"], image["height"]) == (1, 120, 90)
    assert content["annotations"][0]["bbox"] == [1.0, 2.0, 10.125, 20.0]
    assert content["annotations"][0]["area"] == 202.5
    assert content["categories"] == [{"id": i, "name": name} for i, name in enumerate(LIVER_CLASSES, start=1)]


def test_a_class_without_lesions_keeps_its_category():
    one = record(1, 1)
    assert len(coco_dict([one], ("cyst", "rare"), number_records([one]), {})["categories"]) == 2


def test_info_names_tool_command_and_inputs_but_no_machine():
    options = Options(
        folds=3, jobs=7, seed=4, columns=Path("/home/me/map it.yaml"), leaky_random=True, scheduler="tcp://host:1"
    )
    line = command_line(options)
    assert line == "python -m data_prep EXPORT OUT --columns 'map it.yaml' --folds 3 --leaky-random --seed 4"
    facts = run_facts([], options, Export([], (), "table", True, remarks=["seen"]), "abc")
    text = json.dumps(facts)
    assert facts["inputs_sha256"] == "abc" and facts["tool"] == f"data_prep {data_prep.__version__}"
    assert facts["remarks"][0] == "seen" and "leaky" in facts["split_rule"]
    assert "/home" not in text and "tcp" not in text and "jobs" not in text
    assert command_line(Options(split=(0.7, 0.2, 0.1))).endswith("--split 0.7,0.2,0.1")


def test_folds_become_a_train_and_a_val_file_each(tmp_path):
    records = [record(number) for number in range(9)]
    for number, one in enumerate(records):
        one.split = f"fold{number % 3}"
    write(tmp_path, records, Options(folds=3))
    names = sorted(path.name for path in (tmp_path / "annotations").iterdir())
    assert names == [f"fold{k}_{side}.json" for k in range(3) for side in ("train", "val")]
    for fold in range(3):
        files = [
            {image["file_name"] for image in load(tmp_path / f"annotations/fold{fold}_{side}.json").dataset["images"]}
            for side in ("train", "val")
        ]
        assert len(files[0]) == 6 and len(files[1]) == 3 and not files[0] & files[1]


@pytest.mark.parametrize("indent", [None, 2])
def test_indentation_and_equal_bytes(tmp_path, indent):
    records = [record(number, split="train" if number else "val") for number in range(4)]
    for name in ("a", "b"):
        write(tmp_path / name, records, Options(indent=indent, jobs=1 if name == "a" else 4))
    first, second = (tmp_path / name / "annotations/train.json" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert (first.read_text().count("\n") > 20) == bool(indent)


def test_pycocotools_and_mmdet_read_every_side(tiny, tmp_path):
    importlib.import_module("medkit")  # makes mmcv.ops usable
    CocoDataset = importlib.import_module("mmdet.datasets").CocoDataset

    out = tmp_path / "out"
    prepare(tiny.fill(15, 2).save(), out, QUIET)
    total = 0
    for side in ("train", "val", "test"):
        path = out / "annotations" / f"{side}.json"
        coco = load(path)
        data = CocoDataset(
            ann_file=str(path),
            data_prefix={"img": str(out / "images")},
            metainfo={"classes": LIVER_CLASSES},
            filter_cfg={"filter_empty_gt": False, "min_size": 0},
            pipeline=[],
        )
        assert len(data) == len(coco.getImgIds()) > 0
        for index in range(len(data)):
            info = data.get_data_info(index)
            assert Path(info["img_path"]).is_file()
            truth = coco.loadAnns(coco.getAnnIds(info["img_id"]))
            boxes = [[x, y, x + w, y + h] for x, y, w, h in (annotation["bbox"] for annotation in truth)]
            assert [one["bbox"] for one in info["instances"]] == boxes
            assert [one["bbox_label"] + 1 for one in info["instances"]] == [a["category_id"] for a in truth]
        total += len(data)
    assert total == 30


def test_the_command_converts_an_export_without_cleaning(tiny, tmp_path, capsys):
    tiny.fill(5, 2)
    tiny.add("gone.png")
    target = tmp_path / "new" / "all.json"
    assert main(["coco", str(tiny.save()), str(target), "--indent", "1"]) == 0
    assert "10 images" in capsys.readouterr().out
    coco = load(target)
    assert len(coco.getImgIds()) == 10 and len(coco.getAnnIds()) == 8
    assert main(["coco", str(tiny.folder), str(target)]) == 2
    assert "is there already" in capsys.readouterr().err


def split_sides(folder) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for path in folder.glob("*.json"):
        for image in load(path).dataset["images"]:
            found.setdefault(image["patient_id"], []).append(path.stem)
    return found


def test_the_command_splits_an_output_anew_and_keeps_fields(tiny, tmp_path, capsys):
    out, to = tmp_path / "out", tmp_path / "new"
    prepare(tiny.fill(15, 2).save(), out, QUIET)
    assert main(["split", str(out), "--to", str(to), "--folds", "3", "--indent", "1"]) == 0
    assert "on two sides: 0" in capsys.readouterr().out
    for path in to.glob("*_val.json"):
        assert load(path).dataset["info"]["inputs_sha256"]
        for image in load(path).dataset["images"]:
            assert image["sex"] == "F" and (out / "images" / image["file_name"]).is_file()
    val = {p: {s for s in sides if s.endswith("val")} for p, sides in split_sides(to).items()}
    assert len(val) == 15 and all(len(sides) == 1 for sides in val.values())
    assert main(["split", str(out), "--to", str(to)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_foreign_coco_files_with_equal_ids_become_one_split_set(tmp_path, capsys):
    for name, first in (("a", 0), ("b", 50)):
        images = [{"id": i, "file_name": f"{first + i}.jpg", "subject": (first + i) // 2} for i in range(50)]
        boxes = [{"id": i, "image_id": i, "category_id": 7, "bbox": [0, 0, 5, 5], "x": i} for i in range(50)]
        content = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "lesion"}]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "pairs.csv").write_text("a,b\n0.jpg,99.jpg\n2.jpg,elsewhere.jpg\nelsewhere.jpg,90.jpg\n")
    sources = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    more = ["--patient-key", "subject", "--pairs", str(tmp_path / "pairs.csv")]
    assert main(["split", *sources, "--to", str(tmp_path / "to"), *more]) == 0
    side = {}
    for path in (tmp_path / "to").iterdir():
        coco = load(path)
        assert len(coco.getAnnIds()) == len(coco.getImgIds())
        side |= {image["file_name"]: path.stem for image in coco.dataset["images"]}
        assert all(coco.imgs[a["image_id"]]["file_name"] in (f"{a['x']}.jpg", f"{a['x'] + 50}.jpg")
                   for a in coco.dataset["annotations"])  # fmt: skip
    assert len(side) == 100 and all(side[f"{i}.jpg"] == side[f"{i + 1}.jpg"] for i in range(0, 100, 2))
    assert side["0.jpg"] == side["99.jpg"] and side["2.jpg"] == side["90.jpg"]
    for bad, message in (
        ([sources[0], sources[0]], "occurs twice"),
        ([str(tmp_path / "pairs.csv")], "is no COCO file"),
        ([str(tmp_path)], "is no output of data_prep"),
        ([*sources, "--patient-key", "who"], "--patient-key who: no image"),
        ([*sources, "--split", "x"], "--split x: expected three numbers"),
    ):
        assert main(["split", *bad, "--to", str(tmp_path / "other")]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "other").exists()
