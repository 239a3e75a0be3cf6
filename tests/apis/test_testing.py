"""The test flow round a detector that knows the truth: thresholds, files, splits, refusals, two processes."""

import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from medkit.apis.results import choose_images
from medkit.apis.testing import _category_ids, _write_categories, best_checkpoint, load_detector, test
from medkit.errors import ConfigError, DatasetError, WeightsError
from medkit.evaluation.functional import ImageBoxes, lesion_events
from medkit.evaluation.thresholds import StoredThreshold, read_threshold, write_threshold
from medkit.registry import MODELS

from ..prepared import LIVER, write_prepared

test.__test__ = False  # it is the function under test, not a test


class OracleDetector(BaseModel):
    """Predicts every lesion at score .62, but misses 'HCC', and invents a box at .33 in every image."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, inputs, data_samples=None, mode="predict"):
        for sample in data_samples:
            found = [i for i in sample.instances if i["bbox_label"] != 1]
            boxes = torch.tensor([i["bbox"] for i in found] + [[0.0, 0.0, 6.0, 6.0]])
            labels = torch.tensor([i["bbox_label"] for i in found] + [3])
            scores = torch.tensor([0.62] * len(found) + [0.33])
            sample.pred_instances = InstanceData(bboxes=boxes, scores=scores, labels=labels)
        return data_samples


META = ("img_id", "img_path", "ori_shape", "instances")


def loader(root, split):
    pipeline = [
        dict(type="medkit.LoadMedicalImage"),
        dict(type="mmdet.LoadAnnotations", with_bbox=True),
        dict(type="mmdet.PackDetInputs", meta_keys=META),
    ]
    dataset = dict(type="medkit.LesionDataset", data_root=str(root), ann_file=f"annotations/{split}.json",
                   data_prefix=dict(img="images/"), metainfo=dict(classes=LIVER), test_mode=True,
                   pipeline=pipeline)  # fmt: skip
    return dict(batch_size=3, num_workers=0, dataset=dataset,
                sampler=dict(type="mmengine.DefaultSampler", shuffle=False))  # fmt: skip


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS.module_dict, "OracleDetector", OracleDetector)
    root = write_prepared(tmp_path / "data", num_images=8)
    evaluator = dict(type="medkit.LesionMetric")
    content = dict(
        default_scope="mmdet",
        model=dict(type="medkit.OracleDetector"),
        work_dir=str(tmp_path / "unused"),
        val_dataloader=loader(root, "val"),
        val_evaluator=evaluator,
        val_cfg=dict(type="ValLoop"),
        test_dataloader=loader(root, "test"),
        test_evaluator=evaluator,
        test_cfg=dict(type="TestLoop"),
        custom_hooks=[dict(type="mmengine.EMAHook")],
        launcher="none",
    )
    return Config(content)


@pytest.fixture
def run_folder(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    torch.save(dict(state_dict=dict(weight=torch.ones(2)), meta={}), folder / "epoch_3.pth")
    (folder / "last_checkpoint").write_text("/elsewhere/run/epoch_3.pth")
    return folder


def test_threshold_is_chosen_on_validation_kept_and_used_again(cfg, run_folder):
    report = test(cfg, run_folder)
    assert report.score_thr == 0.6 and "chosen on val.json" in report.score_thr_from
    entry = json.loads((run_folder / "thresholds.json").read_text())["epoch_3.pth"]
    assert entry["score_thr"] == 0.6 and entry["chosen_on"] == "val.json" and entry["num_images"] == 8
    assert entry["protocol"] == "lesion" and entry["macro_f1"] == pytest.approx(0.75)
    again = test(cfg, run_folder, num_tiles=0)
    assert again.score_thr == 0.6 and "from thresholds.json" in again.score_thr_from
    torch.save(dict(state_dict=dict(weight=torch.zeros(2))), run_folder / "epoch_3.pth")  # trained on
    assert "chosen on val.json by" in test(cfg, run_folder, num_tiles=0).score_thr_from


def test_numbers_and_files(cfg, run_folder):
    report = test(cfg, run_folder / "epoch_3.pth", num_tiles=4)
    out = run_folder / "test"
    lesions = report.table.lesions
    assert lesions.sum() == 7 and report.table.recall.tolist() == [1, 0, 1, 1]
    assert report.table.misses.tolist() == [0, lesions[1], 0, 0]
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["metrics"]["lesion/f1"] == 0.75 and metrics["num_images"] == 8
    predictions = json.loads((out / "predictions.json").read_text())
    assert len(predictions) == 8 + 7 - lesions[1] and {p["category_id"] for p in predictions} == {1, 3, 4}
    for name in ("per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "sheet.png"):
        assert (out / name).stat().st_size > 100


def test_predictions_score_the_same_with_pycocotools(cfg, run_folder, tmp_path, capsys):
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    report = test(cfg, run_folder, num_tiles=0)
    gt = COCO(str(tmp_path / "data" / "annotations" / "test.json"))
    evaluation = COCOeval(gt, gt.loadRes(str(run_folder / "test" / "predictions.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    ours = [-1 if np.isnan(v) else v for v in report.coco.headline().values()]
    np.testing.assert_allclose(ours, evaluation.stats[:6], atol=1e-9)


def test_given_threshold_needs_no_validation_set(cfg, run_folder, tmp_path):
    (tmp_path / "data" / "annotations" / "val.json").unlink()
    report = test(cfg, run_folder, score_thr=0.3, out_dir=tmp_path / "elsewhere", num_tiles=0)
    assert report.score_thr == 0.3 and report.table.over_detections[3] == 8
    assert (tmp_path / "elsewhere" / "metrics.json").is_file()
    assert not (run_folder / "thresholds.json").exists()
    with pytest.raises(DatasetError, match=r"val\.json"):
        test(cfg, run_folder)


def test_scoring_validation_is_called_optimistic(cfg, run_folder):
    first = test(cfg, run_folder, split="val", num_tiles=0)
    second = test(
        cfg, run_folder, split="val", num_tiles=0
    )  # now from the file, which was chosen on this set
    assert "optimistic" in first.score_thr_from and "optimistic" in second.score_thr_from
    assert first.score_thr == second.score_thr == 0.6
    assert (run_folder / "val/metrics.json").is_file() and not (run_folder / "test").exists()


def test_quick_look_keeps_no_threshold(cfg, run_folder):
    test(cfg, run_folder, keep_threshold=False, num_tiles=0)
    assert not (run_folder / "thresholds.json").exists()
    assert (run_folder / "test_quick/metrics.json").is_file() and not (run_folder / "test").exists()


def test_weights_must_fit(cfg, run_folder):
    torch.save(dict(state_dict=dict(weight=torch.ones(3), head=torch.ones(1))), run_folder / "epoch_3.pth")
    with pytest.raises(WeightsError, match=r"1 of another shape \(first: weight\), 1 unexpected"):
        test(cfg, run_folder, score_thr=0.5)


def test_weights_of_a_distributed_run_load(tmp_path):
    torch.save({"module.weight": torch.full((2,), 3.0)}, tmp_path / "bare.pth")
    model = OracleDetector()
    load_detector(model, tmp_path / "bare.pth")
    assert model.weight.tolist() == [3, 3]


def test_config_without_lesion_metric(cfg, run_folder):
    cfg.val_evaluator = cfg.test_evaluator = dict(type="mmdet.CocoMetric")
    with pytest.raises(ConfigError, match=r"medkit\.LesionMetric"):
        test(cfg, run_folder)


def run_rank(rank, cfg, run_folder, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
                      MASTER_PORT=str(port))  # fmt: skip
    cfg.launcher = "pytorch"
    report = test(cfg, run_folder, out_dir=run_folder / "dist", num_tiles=2)
    assert (report is None) == (rank == 1)


def test_two_processes_give_the_numbers_of_one(cfg, run_folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(run_rank, args=(cfg, run_folder, port), nprocs=2, start_method="fork")
    (run_folder / "thresholds.json").unlink()
    test(cfg, run_folder, num_tiles=2)
    for name in ("metrics.json", "predictions.json", "per_class.csv", "confusion_matrix.csv"):
        assert (run_folder / "dist" / name).read_bytes() == (run_folder / "test" / name).read_bytes()


def test_thresholds_per_class_are_chosen_and_used_again(cfg, run_folder):
    report = test(cfg, run_folder, num_tiles=0, thresholds="per-class")
    assert "per class, chosen on val.json" in report.score_thr_from
    found = np.float32([0.62, 0.6, 0.62, 0.62]).astype(float)  # HCC is never found: the global threshold, .6
    np.testing.assert_allclose(report.class_thr, found, rtol=1e-6)
    again = test(cfg, run_folder, num_tiles=0, thresholds="per-class")
    assert "per class, from thresholds.json" in again.score_thr_from
    np.testing.assert_array_equal(again.matrix, report.matrix)
    assert test(cfg, run_folder, num_tiles=0).score_thr == 0.6


def test_thresholds_per_class_on_validation_are_called_optimistic(cfg, run_folder):
    for _ in range(2):  # chosen, then from the file
        report = test(cfg, run_folder, num_tiles=0, split="val", thresholds="per-class")
        assert "per class" in report.score_thr_from and "optimistic" in report.score_thr_from
        assert report.class_thr is not None


def test_other_settings_choose_anew(cfg, run_folder):
    test(cfg, run_folder, num_tiles=0)
    cfg.img_size = 64
    assert "chosen on val.json by" in test(cfg, run_folder, num_tiles=0).score_thr_from
    assert json.loads((run_folder / "thresholds.json").read_text())["epoch_3.pth"]["settings"]["img_size"] == 64


def test_intervals_by_patient(cfg, run_folder):
    report = test(cfg, run_folder, score_thr=0.5, num_tiles=0, num_draws=30)
    assert report.bootstrap.resampling.num_draws == 30 and "patients" in report.bootstrap.resampling.unit
    assert test(cfg, run_folder, score_thr=0.5, num_tiles=0, num_draws=0).bootstrap is None


def test_best_checkpoint_of_a_run_folder(run_folder):
    with pytest.raises(WeightsError, match="0 best checkpoints"):
        best_checkpoint(run_folder)
    (run_folder / "best_coco_mAP_epoch_2.pth").write_bytes(b"")
    assert best_checkpoint(run_folder).name == "best_coco_mAP_epoch_2.pth"


def test_merged_class_has_a_category_of_its_own(tmp_path):
    names = ("cyst", "HCC", "lesion")
    path = tmp_path / "ann.json"
    path.write_text(json.dumps(dict(categories=[dict(id=i + 1, name=n) for i, n in enumerate(names[:2])])))
    merged = _category_ids({1: 0, 2: 0}, ("lesion",), path)
    assert merged == {0: dict(id=3, name="lesion", merged_from=[1, 2])}
    path.write_text(json.dumps(dict(categories=[dict(id=i + 1, name=n) for i, n in enumerate(names)])))
    assert _category_ids({1: 0, 2: 0}, ("lesion",), path)[0]["id"] == 3  # the file has one of that name
    assert _category_ids({7: 0, 9: 1}, ("cyst", "HCC"), None) == {0: dict(id=7, name="cyst"), 1: dict(id=9, name="HCC")}
    assert _write_categories({0: dict(id=7, name="cyst")}, tmp_path) == []
    assert json.loads(_write_categories(merged, tmp_path)[0].read_text()) == [merged[0]]


def test_sheet_mixes_hits_and_errors():
    box, far = [0, 0, 20, 20], [50, 50, 70, 70]
    fine = ImageBoxes.create([box], [0.9], [0], [box], [0])
    miss = ImageBoxes.create([], [], [], [box], [0])
    over = ImageBoxes.create([far], [0.9], [0], [], [])
    confused = ImageBoxes.create([box], [0.9], [1], [box], [0])
    images = [fine] * 20 + [miss] * 3 + [over] * 2 + [confused]
    chosen = choose_images(lesion_events(images), 0.5, len(images), 8)
    assert len(set(chosen)) == 8 and sum(i < 20 for i in chosen) == 4
    assert {20, 23, 25} <= set(chosen)  # one of each kind of error at least
    assert chosen == choose_images(lesion_events(images), 0.5, len(images), 8)
    assert sorted(choose_images(lesion_events(images[:3]), 0.5, 3, 16)) == [0, 1, 2]


def test_threshold_file_keeps_other_checkpoints(tmp_path):
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(name.encode())
        write_threshold(tmp_path / name, StoredThreshold(0.35, "val.json", 0.5, 10))
    assert read_threshold(tmp_path / "a.pth").score_thr == 0.35
    assert read_threshold(tmp_path / "a.pth", iou_thr=0.5) is None
    (tmp_path / "a.pth").write_bytes(b"trained on")
    assert read_threshold(tmp_path / "a.pth") is None and read_threshold(tmp_path / "b.pth") is not None
    assert read_threshold(tmp_path / "c.pth") is None


@pytest.mark.parametrize("content", ["{", "[]", '{"a.pth": {"score_thr": 0.3}}', '{"a.pth": 3}'])
def test_unreadable_threshold_file(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(b"x")
    (tmp_path / "thresholds.json").write_text(content)
    with pytest.raises(ConfigError, match="delete the file"):
        read_threshold(tmp_path / "a.pth")
