"""LesionMetric inside mmengine's evaluator, on one and on two processes, and what it refuses."""

import json
import os
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from medkit.errors import ConfigError, MedkitError
from medkit.evaluation.metrics import LesionMetric
from medkit.registry import METRICS

CLASSES = ("cyst", "HCC")
LESION = [10.0, 10, 50, 60]


def sample(img_id=1, preds=((*LESION, 0.9, 0),), lesions=((*LESION, 0, 0),), keep_gt=True):
    """A DetDataSample as the detector returns it; preds are (x1, y1, x2, y2, score, label)."""
    preds = torch.tensor(preds, dtype=torch.float32).reshape(-1, 6)
    instances = [dict(bbox=list(g[:4]), bbox_label=g[4], ignore_flag=g[5]) for g in lesions]
    meta = dict(img_id=img_id, img_path=f"{img_id}.png", ori_shape=(100, 100))
    out = DetDataSample(metainfo=meta | (dict(instances=instances) if keep_gt else {}))
    out.pred_instances = InstanceData(bboxes=preds[:, :4], scores=preds[:, 4], labels=preds[:, 5].long())
    return out


def evaluate(samples, **kwargs):
    metric = METRICS.build(dict(type="medkit.LesionMetric", **kwargs))
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = dict(classes=CLASSES)
    for one in samples:
        evaluator.process([one])
    return evaluator.evaluate(len(samples)), metric


def test_metrics_of_a_small_set(tmp_path):
    samples = [
        sample(1),
        sample(2, preds=[(*LESION, 0.8, 1), (70, 70, 90, 90, 0.6, 1)], lesions=[(*LESION, 1, 0)]),
        sample(3, preds=[], lesions=[(*LESION, 0, 0)]),
        sample(4, preds=[(*LESION, 0.7, 0)], lesions=[]),
    ]
    values, metric = evaluate(samples, score_thr=0.5, out_dir=tmp_path)
    assert metric.report.matrix.tolist() == [[0, 1, 1], [1, 1, 0], [0, 0, 1]]
    assert values["lesion/recall"] == 0.75 and values["lesion/precision"] == 0.5
    assert values["lesion/score_thr"] == 0.5
    assert 0 < values["coco/mAP"] < 1 and values["coco/AP_HCC"] == pytest.approx(1)
    assert (tmp_path / "metrics.json").is_file() and [r.img_id for r in metric.image_results] == [1, 2, 3, 4]


def test_threshold_from_the_grid_and_reuse():
    evaluator_values, metric = evaluate([sample(1, preds=[(*LESION, 0.72, 0)])], score_thr="grid")
    assert evaluator_values["lesion/score_thr"] == 0.7
    assert metric.results == []  # ready for the next epoch


def test_crowd_is_left_out():
    values, metric = evaluate(
        [sample(lesions=[(*LESION, 0, 1)], preds=[(12, 12, 48, 58, 0.9, 0)])], score_thr=0.1
    )
    assert metric.report.matrix.sum() == 0 and np.isnan(values["coco/mAP"])


def test_missing_ground_truth_names_the_cure():
    with pytest.raises(ConfigError, match="meta_keys"):
        evaluate([sample(keep_gt=False)])


def test_label_out_of_range():
    with pytest.raises(ConfigError, match="run from 2 to 2"):
        evaluate([sample(preds=[(*LESION, 0.9, 2)])])


def test_nan_prediction_is_an_error():
    with pytest.raises(MedkitError, match="nan or infinity"):
        evaluate([sample(preds=[(*LESION, float("nan"), 0)])])


@pytest.mark.parametrize("kwargs", [dict(score_thr=1.5), dict(score_thr="best"), dict(iou_thr=-1)])
def test_bad_arguments(kwargs):
    with pytest.raises(ConfigError, match=r"expected a number in \[0, 1\]"):
        LesionMetric(**kwargs)


def test_no_class_names():
    metric = LesionMetric()
    with pytest.raises(ConfigError, match="metainfo"):
        metric.process(None, [sample().to_dict()])


def shards():
    """Five images; two ranks see three each, the last of rank 1 repeats the first image as padding."""
    images = [sample(i, preds=[(*LESION, 0.15 * i + 0.1, i % 2)]) for i in range(5)]
    return images, {0: images[0::2], 1: [images[1], images[3], images[0]]}


def run_rank(rank, port, out):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.distributed.init_process_group("gloo")
    metric = LesionMetric(score_thr="grid")
    metric.dataset_meta = dict(classes=CLASSES)
    for one in shards()[1][rank]:
        metric.process(None, [one.to_dict()])
    values = metric.evaluate(5)
    ids = [r.img_id for r in metric.image_results]
    torch.save((values, ids), f"{out}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_numbers_of_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.start_processes(run_rank, args=(port, str(tmp_path)), nprocs=2, start_method="fork")
    alone, _ = evaluate(shards()[0], score_thr="grid")
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    for values, _ in ranks:
        np.testing.assert_equal(values, alone)
    assert ranks[0][1] == [0, 1, 2, 3, 4] and ranks[1][1] == []


def test_patients_come_from_the_annotation_file(tmp_path):
    images = [dict(id=i, patient_id=p) for i, p in ((1, "P1"), (2, "P1"), (3, "no-id:x.png"), (4, None))]
    (tmp_path / "ann.json").write_text(json.dumps(dict(images=images)))
    samples = [sample(i) for i in (1, 2, 3, 4)]
    _, metric = evaluate(samples, score_thr=0.5, num_draws=20, ann_file=str(tmp_path / "ann.json"))
    drawn = metric.report.bootstrap.resampling
    assert drawn.unit == "3 patients (2 images without one count as their own)" and drawn.num_draws == 20
    _, metric = evaluate(samples, score_thr=0.5, num_draws=20)
    assert "no patient is known" in metric.report.bootstrap.resampling.unit
    assert evaluate(samples, score_thr=0.5)[1].report.bootstrap is None


def test_rescore_keeps_the_predictions():
    _, metric = evaluate([sample(1), sample(2, preds=[(*LESION, 0.4, 0)])], score_thr=0.5)
    metric.rescore(dict(cyst=0.3, HCC=0.9), "tried")
    assert metric.report.table.recall[0] == 1 and metric.report.score_thr_from == "tried"
    assert len(metric.image_results) == 2
