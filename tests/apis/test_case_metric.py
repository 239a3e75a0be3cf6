"""The distance-softmax loss on a backbone for images: retrieval of new persons' images gains by it."""

import numpy as np
import torch
from mmpretrain.models import ResNet

from medkit.apis.case_evaluation import compare_evaluations, evaluate_index
from medkit.apis.case_index import CaseIndex
from medkit.apis.cases import Case, ModelFingerprint
from medkit.apis.features import quiet
from medkit.models.common import DistanceSoftmaxLoss

LABELS = ("smooth", "striped")


def pictures(persons: range) -> tuple[torch.Tensor, torch.Tensor, list[Case]]:
    """Two visits each, (N, 3, 32, 32): faint stripes are the label, brightness and a large blob are the person."""
    images, labels, cases = [], [], []
    for person in persons:
        rng, label = np.random.default_rng(person), person % 2
        y, x = np.mgrid[:32, :32]
        blob = np.exp(-((x - rng.uniform(8, 24)) ** 2 + (y - rng.uniform(8, 24)) ** 2) / 40)
        for visit in range(2):
            stripes = 0.35 * label * np.sin(x * 1.6 + rng.uniform(0, 6))
            image = rng.normal(0, 0.7) + 2 * blob + stripes + rng.normal(0, 0.15, (32, 32))
            images.append(np.repeat(image[None], 3, axis=0))
            labels.append(label)
            cases.append(Case(f"{person}-{visit}", str(person), LABELS[label], str(visit)))
    return torch.tensor(np.stack(images), dtype=torch.float32), torch.tensor(labels), cases


def encode(network: ResNet, images: torch.Tensor) -> torch.Tensor:
    return network(images)[-1].mean(dim=(2, 3))  # (B, 64)


def held_out(network: ResNet):
    images, _, cases = pictures(range(200, 260))
    network.eval()
    with torch.no_grad():
        codes = encode(network, images).numpy()
    return evaluate_index(CaseIndex.build(codes, cases, ModelFingerprint("ResNet", "")), ks=(5,), num_draws=200)


def test_loss_trains_a_backbone_for_images_and_retrieval_of_new_persons_gains() -> None:
    torch.manual_seed(0)
    network = ResNet(18, base_channels=8, stem_channels=8, strides=(1, 2, 1, 1))
    loss = DistanceSoftmaxLoss(temperature=8.0)
    with quiet():
        network.init_weights()
    before = held_out(network)
    images, labels, _ = pictures(range(60))
    optimizer, rng = torch.optim.Adam(network.parameters(), 2e-3), np.random.default_rng(0)
    network.train()
    for _ in range(60):
        order = rng.permutation(len(images))
        anchors = np.array([next(row for row in order if labels[row] == label) for label in (0, 1)])
        persons = set(anchors // 2)  # an anchor is never of a person who is in the batch
        batch = np.array([row for row in order if row // 2 not in persons][:16])
        codes = encode(network, images[np.concatenate([batch, anchors])])  # (16 + 2, 64), one pass
        value = loss(codes[:16], labels[batch], codes[16:])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    after = held_out(network)
    gain = compare_evaluations(after, before)
    assert before.bootstrap.estimates["mAP"] < 0.65 < 0.9 < after.bootstrap.estimates["mAP"]
    assert gain["mAP"].low > 0.2 and gain["precision@5"].low > 0.1
