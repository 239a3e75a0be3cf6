"""Does the label audit find labels that are known to be missing? Precision among its first k suspicions.

python tools/benchmarks/label_audit.py RUN --delete 0.1 --seeds 0 1 2    a seeded share of the boxes is deleted
python tools/benchmarks/label_audit.py RUN --split train --truth EXPORT/truth_boxes.csv    lesions without a label

RUN was tested with tools/test.py; no forward pass is run here.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run from a checkout without installation

from medkit.apis.cli import one_line_errors
from medkit.apis.report_audit import SAME_SPOT, audit, audit_runs, class_priors, precision_at
from medkit.apis.report_runs import GroundTruth, ScoredRun, ground_truth, read_run, score_predictions
from medkit.evaluation.functional.boxes import box_iou

KS = (5, 10, 20, 30, 50)


def without(truth: GroundTruth, share: float, seed: int) -> tuple[GroundTruth, dict[int, np.ndarray]]:
    """The labels less a random share of them, and what was taken: position of the image -> boxes (n, 4) xyxy."""
    rng = np.random.default_rng(seed)
    gone = set(rng.choice(truth.gt_ids, round(share * len(truth.gt_ids)), replace=False).tolist())
    kept = [entry for entry in truth.content["annotations"] if entry["id"] not in gone]
    content = truth.content | {"annotations": kept}
    hidden = {
        position: boxes
        for position, entries in enumerate(truth.boxes)
        if len(boxes := _xyxy([entry["bbox"] for entry in entries if entry["id"] in gone]))
    }
    return ground_truth(truth.ann_file, truth.image_dir, content, truth.classes, truth.labels), hidden


def _xyxy(xywh: list) -> np.ndarray:
    boxes = np.array(xywh, float).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def unlabelled(truth: GroundTruth, path: str) -> dict[int, np.ndarray]:
    """Lesions that frames of a phantom export show and the prepared labels lack: left out of its table, or spoilt."""
    position = {image["file_name"]: index for index, image in enumerate(truth.images)}
    hidden: dict[int, list] = {}
    with Path(path).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["file"] in position]
    for row in rows:
        index = position[row["file"]]
        box = np.array([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
        labelled = _xyxy([entry["bbox"] for entry in truth.boxes[index]])
        if not (box_iou(box[None], labelled) >= SAME_SPOT).any():
            hidden.setdefault(index, []).append(box)
    return {index: np.array(boxes) for index, boxes in hidden.items()}


def deletion_rows(run: ScoredRun, results: Path, share: float, seeds: list[int]) -> list[tuple[str, int, dict]]:
    """One row per seed: what it is, how many boxes are hidden, precision at k."""
    stored = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    predictions = json.loads((results / "predictions.json").read_text(encoding="utf-8"))
    rows = []
    for seed in seeds:
        truth, hidden = without(run.truth, share, seed)
        report = score_predictions(truth, predictions, stored)
        found = audit([report.matches], [report.thresholds], truth.gt_ids, class_priors(truth))
        count = sum(map(len, hidden.values()))
        rows.append((f"seed {seed}", count, precision_at(found.missing, hidden, (*KS, count))))
    return rows


@one_line_errors
def main() -> None:
    """Print precision at k."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="run folder with test results")
    parser.add_argument("--split", default="test")
    parser.add_argument("--data-root", help="where the prepared data set is now")
    parser.add_argument("--delete", type=float, default=0.1, help="share of the boxes to hide")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--truth", help="truth_boxes.csv of a phantom export: audit the labels as they are")
    args = parser.parse_args()
    run = read_run(args.run, args.split, args.data_root, num_draws=0)
    if args.truth:
        hidden = unlabelled(run.truth, args.truth)
        found = audit_runs([run])
        count = sum(map(len, hidden.values()))
        rows = [("unlabelled", count, precision_at(found.missing, hidden, (*KS, count)))]
    else:
        rows = deletion_rows(run, run.folder / run.split, args.delete, args.seeds)
    boxes = len(run.truth.gt_ids)
    print(f"{run.name} on {run.split}: {len(run.truth.images)} images, {boxes} boxes")
    for name, count, precision in rows:
        listed = "  ".join(f"P@{k} {value:.2f}" for k, value in precision.items())
        print(f"{name:10s} {count:3d} hidden   {listed}")


if __name__ == "__main__":
    main()
