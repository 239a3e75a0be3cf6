"""Synthetic predictions and ground truth for the evaluation tests."""

import numpy as np

from medkit.evaluation.functional import ImageBoxes

CELL = 100.0  # lesions stand in cells of this size, so those of one image never touch each other


def random_images(rng, num_images=10, num_classes=4, coarse=False, crowd_rate=0.15, max_preds=12):
    """Crowded little images; coarse draws positions and scores from few values, so that ties are common."""
    images = []
    for _ in range(num_images):
        num_gt, num_pred = rng.integers(0, 5), rng.integers(0, max_preds + 1)
        gt = random_boxes(rng, num_gt, coarse)
        near = random_boxes(rng, num_pred, coarse)
        if num_gt and num_pred:  # half of the predictions sit on a lesion
            on = rng.random(num_pred) < 0.5
            jitter = rng.integers(-1, 2, (num_pred, 4)) * 5.0 if coarse else rng.normal(0, 4, (num_pred, 4))
            near[on] = (gt[rng.integers(0, num_gt, num_pred)] + jitter)[on]
            near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        scores = rng.integers(0, 21, num_pred) / 20 if coarse else rng.random(num_pred)
        images.append(
            ImageBoxes.create(
                near,
                scores,
                rng.integers(0, num_classes, num_pred),
                gt,
                rng.integers(0, num_classes, num_gt),
                gt_ignore=rng.random(num_gt) < crowd_rate,
            )
        )
    return images


def random_boxes(rng, num, coarse):
    top_left = rng.integers(0, 8, (num, 2)) * 5.0 if coarse else rng.uniform(0, 60, (num, 2))
    size = rng.integers(2, 8, (num, 2)) * 5.0 if coarse else rng.uniform(5, 120, (num, 2))
    return np.concatenate([top_left, top_left + size], axis=1)


def images_from_matrix(matrix, score_thr, rng, per_image=4):
    """Images whose lesion matrix at score_thr is the given one, with decoys that must not change it."""
    cells = [(t, p) for t, row in enumerate(matrix) for p, count in enumerate(row) for _ in range(count)]
    rng.shuffle(cells)
    return [
        _image_of(cells[i : i + per_image], score_thr, rng, len(matrix) - 1)
        for i in range(0, len(cells), per_image)
    ]


def _image_of(cells, thr, rng, num_classes):
    gts, gt_labels, preds, scores, labels = [], [], [], [], []
    for slot, (truth, called) in enumerate(cells):
        x, y = CELL * slot, CELL * rng.integers(0, 5)
        box = np.array([x + 10, y + 10, x + 60, y + 70])
        if truth:
            gts.append(box)
            gt_labels.append(truth - 1)
        if called:
            score = rng.choice([thr, rng.uniform(thr, 1)])
            add = [(box + rng.uniform(-4, 4, 4), score, called - 1)]
            if truth:  # a weaker rival on the same lesion
                add.append((box + 3, rng.uniform(0, score) * 0.99, rng.integers(0, num_classes)))
        else:  # a call below the threshold
            add = [(box, thr - 0.01, rng.integers(0, num_classes))]
        add.append(
            (box + np.array([0, 500, 0, 500]), rng.uniform(0, thr - 0.01), rng.integers(0, num_classes))
        )
        for pred, score, label in add:
            preds.append(pred)
            scores.append(score)
            labels.append(label)
    order = rng.permutation(len(preds))
    return ImageBoxes.create(
        np.array(preds)[order], np.array(scores)[order], np.array(labels)[order], gts, gt_labels
    )
