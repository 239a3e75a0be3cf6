"""tools/report.py on made runs: numbers are those of tools/test.py, files are complete, wrong input is one line."""

import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from medkit.apis.report_compare import describe
from medkit.apis.report_runs import read_ground_truth, read_run, score_predictions

from ..prepared import LIVER, write_prepared

REPO = Path(__file__).resolve().parents[2]


def run_tool(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["report.py", *map(str, args)])
    try:
        runpy.run_path(str(REPO / "tools" / "report.py"), run_name="__main__")
    except SystemExit as stopped:
        return stopped.code
    return 0


def predict(data, shift, score):
    """Predictions near the labels, one class wrong, one over-detection."""
    content = json.loads((data / "annotations/test.json").read_text())
    found = []
    for entry in content["annotations"]:
        x, y, w, h = entry["bbox"]
        category = 2 if entry["id"] == 1 else entry["category_id"]
        found.append(dict(image_id=entry["image_id"], category_id=category, bbox=[x + shift, y, w, h], score=score))
    return [*found, dict(image_id=content["images"][-1]["id"], category_id=3, bbox=[30.0, 30, 20, 20], score=score)]


def make_run(folder, data, shift=2.0, score=0.75, mode="stepwise"):
    """What a training and tools/test.py leave, without either."""
    results = folder / "test"
    results.mkdir(parents=True)
    dataset = dict(type="medkit.LesionDataset", data_root=str(data), ann_file="annotations/test.json",
                   data_prefix=dict(img="images/"), metainfo=dict(classes=LIVER))  # fmt: skip
    cfg = Config(
        dict(
            classes=LIVER,
            img_size=96,
            model=dict(type="mmdet.CenterNet", backbone=dict(type="mmdet.ResNet", depth=18)),
            train_cfg=dict(max_epochs=5),
            custom_hooks=[dict(type="medkit.StepwiseUnfreezeHook", mode=mode, schedule=None)],
            test_dataloader=dict(dataset=dataset),
            test_evaluator=dict(type="medkit.LesionMetric"),
        )
    )
    for place in (folder, results):
        cfg.dump(str(place / "centernet.py"))
    (folder / "metrics.csv").write_text("epoch,split,iter,lr,loss,coco/mAP\n1,train,4,0.1,3.5,\n1,val,4,,,0.25\n")
    predictions = predict(data, shift, score)
    (results / "predictions.json").write_text(json.dumps(predictions))
    stored = dict(score_thr=0.5, score_thr_from="chosen on <val>.json", iou_thr=0.25, metrics={})
    report = score_predictions(read_ground_truth(cfg.test_dataloader.dataset), predictions, stored)
    (results / "metrics.json").write_text(json.dumps(stored | {"metrics": {"coco/mAP": report.coco.mAP}}))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("data"))


def test_report_of_one_run(data, tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", data)
    assert run_tool(monkeypatch, run, "--audit", "--draws", 50, "--tiles", 2) == 0
    out = run / "test" / "report"
    assert f"written: {out / 'report.html'}" in capsys.readouterr().out
    names = {path.name for path in out.iterdir()}
    assert names >= {"report.html", "figures", "headline.csv", "per_class.csv", "confusion_matrix.csv", "metrics.json",
                     "size.csv", "place.csv", "errors.csv", "audit.csv", "suspected_missing.json",
                     "suspected_labels.json"}  # fmt: skip
    html = (out / "report.html").read_text()
    for heading in ("Result", "Classes", "Confusion", "Curves", "Training", "Size and place", "Worst misses",
                    "Worst false positives", "Confusions", "Label audit"):  # fmt: skip
        assert f"<h2>{heading}</h2>" in html
    assert "chosen on &lt;val&gt;.json" in html and "50 bootstrap draws of 6 patients" in html
    assert "layer4 from epoch 2" in html and len(html) < 5e6
    with (out / "errors.csv").open() as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    assert kinds == ["false positive", "confusion"]
    [proposed] = json.loads((out / "suspected_missing.json").read_text())["annotations"]
    assert proposed["category_id"] == 3
    before = html
    assert run_tool(monkeypatch, run, "--audit", "--draws", 50, "--tiles", 2) == 0
    assert (out / "report.html").read_text() == before


def test_comparison(data, tmp_path, monkeypatch):
    runs = [make_run(tmp_path / "flex", data, mode="flex"), make_run(tmp_path / "step", data, shift=6.0)]
    assert run_tool(monkeypatch, *runs, "--out", tmp_path / "out", "--draws", 30, "--tiles", 0) == 0
    with (tmp_path / "out" / "comparison.csv").open() as file:
        first, second = csv.DictReader(file)
    assert [first[n] for n in ("run", "model", "backbone", "weights", "classes", "epochs", "size")] == [
        "flex", "CenterNet", "ResNet-18", "flex", "4", "5", "96"]  # fmt: skip
    assert second["weights"] == "stepwise" and float(first["mAP"]) > float(second["mAP"])
    with (tmp_path / "out" / "differences.csv").open() as file:
        rows = {row["metric"]: row for row in csv.DictReader(file)}
    worse = rows["mAP"]
    assert float(worse["difference"]) == pytest.approx(float(second["mAP"]) - float(first["mAP"]))
    assert float(worse["low"]) <= float(worse["difference"]) <= float(worse["high"]) < 0
    for name in ("comparison.html", "comparison.md", "comparison.tex", "comparison.json", "flex/report.html"):
        assert (tmp_path / "out" / name).is_file()
    assert '<a href="step/report.html">' in (tmp_path / "out" / "comparison.html").read_text()
    assert "| flex | CenterNet | ResNet-18 | flex |" in (tmp_path / "out" / "comparison.md").read_text()


def test_untested_run_names_the_command(data, tmp_path, monkeypatch, capsys):
    run = make_run(tmp_path / "run", data)
    shutil.rmtree(run / "test")
    assert run_tool(monkeypatch, run) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"`python tools/test.py {run / 'centernet.py'} {run}`" in error
    assert run_tool(monkeypatch, run, "--split", "val") == 2
    assert "--split val`" in capsys.readouterr().err
    assert run_tool(monkeypatch, run, "--split", "train") == 2
    assert f"ann_file=annotations/train.json --out {run / 'train'}`" in capsys.readouterr().err


def test_changed_labels_are_refused(data, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    run = make_run(tmp_path / "run", copy)
    path = copy / "annotations/test.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": content["annotations"][1:]}))
    assert run_tool(monkeypatch, run) == 2
    assert "one of them was replaced since" in capsys.readouterr().err
    path.write_text(json.dumps(content | {"images": content["images"][1:], "annotations": []}))
    assert run_tool(monkeypatch, run) == 2
    assert "predictions.json holds image 0" in capsys.readouterr().err
    assert run_tool(monkeypatch, run, "--data-root", data, "--draws", 0, "--tiles", 0) == 0


def test_runs_on_other_sets_are_not_compared(data, tmp_path, monkeypatch, capsys):
    other = write_prepared(tmp_path / "other", seed=1)
    runs = [make_run(tmp_path / "a", data), make_run(tmp_path / "b", other)]
    assert run_tool(monkeypatch, *runs, "--draws", 0) == 2
    assert "must be tested on the same set" in capsys.readouterr().err
    assert run_tool(monkeypatch, runs[0], runs[0]) == 2
    assert "named twice" in capsys.readouterr().err


def test_ground_truth_follows_mmdet(data, tmp_path):
    """Boxes, ids and labels are those that `medkit.LesionDataset` gives to the metric."""
    from medkit.data.lesion_dataset import LesionDataset

    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    path = copy / "annotations/test.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["ignore"] = True
    content["annotations"][2]["bbox"][2] = 0.5  # narrower than a pixel: mmdet leaves it out
    content["images"].reverse()
    path.write_text(json.dumps(content))
    merged = {name: "lesion" if name != "cyst" else "cyst" for name in LIVER}
    run = make_run(tmp_path / "run", copy)
    for classes, class_map in ((LIVER[::-1], None), (("cyst", "lesion"), merged)):
        options = dict(data_root=str(copy), ann_file="annotations/test.json", data_prefix=dict(img="images/"),
                       metainfo=dict(classes=classes), class_map=class_map)  # fmt: skip
        theirs = LesionDataset(**options, test_mode=True)
        ours = read_ground_truth(Config(dict(dataset=options)).dataset)
        assert [image["id"] for image in ours.images] == [info["img_id"] for info in theirs]
        for position, info in enumerate(theirs):
            assert str(ours.path(position)) == info["img_path"]
            boxes = [(e["bbox"][:2], ours.labels[e["category_id"]], e["iscrowd"]) for e in ours.boxes[position]]
            assert boxes == [(i["bbox"][:2], i["bbox_label"], i["ignore_flag"]) for i in info["instances"]]
    assert read_run(run, num_draws=0).report.num_images == 6
    content["images"][0]["patient_id"] = "no-id:a.png"  # data_prep's mark
    path.write_text(json.dumps(content))
    patients = read_run(run, num_draws=0).truth.patients
    assert patients.count(None) == 1 and "test0" in patients


@pytest.mark.parametrize(
    "path, expected",
    [
        ("centernet_liver.py", ["CenterNet", "ResNet-18", "flex", 4]),
        ("centernet_simsiam_frozen_liver.py", ["CenterNet", "ResNet-18", "fix", 4]),
        ("centernet_simsiam_liver.py", ["CenterNet", "ResNet-18", "stepwise", 4]),
        ("yolox_1class_liver.py", ["YOLOX", None, "flex", 1]),
    ],
)
def test_describe_shipped_configs(path, expected):
    from medkit.apis.config import load_config

    said = describe(load_config(REPO / "configs" / path))
    for name, value in zip(("model", "backbone", "weights", "classes"), expected, strict=True):
        assert value is None or said[name] == value
    assert isinstance(said["epochs"], int) and said["size"].isdigit()
    assert "simsiam" in said["start"] if "simsiam" in path else True
