"""The label audit: what it lists, in which order, and what its COCO files hold."""

import json
from pathlib import Path

import numpy as np
import pytest

from medkit.apis.report_audit import audit, class_priors, precision_at, write_audit
from medkit.apis.report_runs import ground_truth
from medkit.evaluation.functional import ImageBoxes, match

A, B, FAR = [10, 10, 50, 50], [100, 100, 160, 160], [200, 10, 240, 50]


def matches(*images, classes=2):
    """Images as (predictions [(box, score, label)], labels [(box, label)])."""
    records = [
        ImageBoxes.create(*([p[k] for p in preds] for k in (0, 1, 2)), *([g[k] for g in gts] for k in (0, 1)))
        for preds, gts in images
    ]
    return match(records, classes)


def test_a_sure_prediction_far_from_labels_is_a_missing_box():
    one = matches(
        ([(A, 0.9, 0), (FAR, 0.7, 1), (FAR, 0.5, 0)], [(A, 0)]),  # two predictions on one spot are one suspicion
        ([(B, 0.8, 0)], []),
        ([(FAR, 0.2, 0)], []),  # under the threshold
        ([([20, 20, 70, 70], 0.9, 0)], [(A, 0)]),  # IoU .28 of a label: it is found
        ([([40, 10, 80, 50], 0.9, 0)], [(A, 0)]),  # IoU .14: badly placed, no missing label
    )
    found = audit([one], [0.4], [7, 8, 9])
    assert [(s.image, s.proposed, round(s.suspicion, 6)) for s in found.missing] == [(1, 0, 0.8), (0, 1, 0.7)]
    assert found.missing[1].bbox.tolist() == FAR and found.missing[0].gt_id is None
    assert [s.gt_id for s in found.surplus] == [9] and not found.classes


def test_what_all_runs_miss_is_surplus_and_what_all_call_otherwise_is_a_class():
    labels = [(A, 0), (B, 1), (FAR, 0)]
    first = matches(([(A, 0.9, 1), (A, 0.3, 0), (B, 0.35, 1)], labels))
    second = matches(([(A, 0.7, 1), (FAR, 0.8, 0)], labels))
    found = audit([first, second], [0.4, 0.4], [1, 2, 3])
    assert [(s.gt_id, s.label, s.proposed) for s in found.classes] == [(1, 0, 1)]
    assert found.classes[0].suspicion == pytest.approx((0.9 + 0.7) / 2 - 0.3 / 2)
    assert [(s.gt_id, round(s.suspicion, 4)) for s in found.surplus] == [(2, 1 - 0.35 / 2)]  # 3 is seen by one run
    assert found.support == pytest.approx([0.15, 0.175, 0.4])


def test_a_missing_box_seen_by_one_run_of_two_counts_half():
    seen, blind = matches(([(A, 0.8, 0)], [])), matches(([], []))
    [one] = audit([seen, blind], [0.4, 0.4], []).missing
    assert one.suspicion == pytest.approx(0.4) and one.runs == 1
    [both] = audit([seen, seen], [0.4, 0.4], []).missing
    assert both.suspicion == pytest.approx(0.8) and both.runs == 2


def truth(*images, diagnosis=True):
    """Ground truth of images given as (diagnosis, [(box, category)])."""
    entries, annotations = [], []
    for number, (name, boxes) in enumerate(images):
        entries.append(dict(id=number, file_name=f"{number}.png") | (dict(diagnosis=name) if diagnosis else {}))
        for (x1, y1, x2, y2), category in boxes:
            box = [x1, y1, x2 - x1, y2 - y1]
            entry = dict(id=len(annotations) + 1, image_id=number, category_id=category, bbox=box)
            annotations.append(entry | dict(area=box[2] * box[3], iscrowd=0))
    categories = [dict(id=1, name="cyst"), dict(id=2, name="HCC")]
    content = dict(images=entries, annotations=annotations, categories=categories)
    return ground_truth(Path("val.json"), Path(), content, ("cyst", "HCC"), {1: 0, 2: 1})


def test_priors_are_shares_within_a_diagnosis_and_rank_the_likely_class_first():
    images = [("HCC", [(A, 2)]), ("HCC", [(A, 2), (B, 2)]), ("cyst", [(A, 1)])]
    priors = class_priors(truth(*images))
    assert priors[0] == pytest.approx([(0 + 1 / 3) / 3, (2 + 2 / 3) / 3])
    assert priors[0].tolist() == priors[1].tolist()
    assert class_priors(truth(*images, diagnosis=False)).tolist() == [[1, 1]] * 3
    one = matches(([(FAR, 0.9, 0)], []), ([(FAR, 0.5, 1)], []), ([], []))
    assert [s.image for s in audit([one], [0.4], []).missing] == [0, 1]
    assert [s.image for s in audit([one], [0.4], [], priors).missing] == [1, 0]


def test_no_predictions_no_labels():
    found = audit([matches(([], []))], [0.5], [])
    assert not (found.missing or found.surplus or found.classes or len(found.support))


def test_precision_at_k():
    one = matches(([(A, 0.9, 0)], []), ([(B, 0.8, 0)], []), ([(A, 0.7, 0)], []))
    found = audit([one], [0.4], []).missing
    assert precision_at(found, {0: np.array([A]), 1: np.array([A]), 2: np.array([A])}, (1, 2, 3, 9)) == {
        1: 1.0, 2: 0.5, 3: pytest.approx(2 / 3)}  # fmt: skip


def test_coco_files(tmp_path):
    labels = truth(("HCC", [(A, 2), (B, 2)]), ("HCC", []))
    one = matches(([(A, 0.75, 1)], [(A, 1), (B, 1)]), ([(FAR, 0.5, 1)], []))
    paths = write_audit(audit([one], [0.4], labels.gt_ids), labels, tmp_path)
    missing, labelled = (json.loads(path.read_text()) for path in paths[:2])
    [proposed] = missing["annotations"]
    assert [image["file_name"] for image in missing["images"]] == ["1.png"]
    assert (proposed["image_id"], proposed["category_id"], proposed["bbox"]) == (1, 2, [200.0, 10.0, 40.0, 40.0])
    assert proposed["suspicion"] == pytest.approx(0.5) and missing["categories"] == labels.content["categories"]
    assert [(a["suspicion"], a["suspected"]) for a in labelled["annotations"]] == [(0.25, ""), (1.0, "surplus")]
    assert len(paths[2].read_text().splitlines()) == 1 + 2
