"""Does what a pre-training learns tell the classes apart? k-NN on frozen features, looked at while it trains.

The vote is that of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (CVPR 2018),
which Caron et al. (DINO, 2021) made the usual probe. Labels are looked at and never used: neither the weights nor the
random numbers nor the choice of a checkpoint depend on them.
Command: ``python tools/train.py configs/simsiam_busi.py``.
"""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from medkit.data.checks import dataset_configs
from medkit.data.graded import GradedSet, read_graded
from medkit.engine.encoding import Encoder, encode_files, encoder_of
from medkit.errors import ConfigError, DatasetError
from medkit.evaluation.functional.grading import accuracy, balanced_accuracy, grade_matrix, kappa
from medkit.evaluation.functional.neighbours import all_neighbours, weighted_vote
from medkit.registry import HOOKS


@HOOKS.register_module()
class KNNProbeHook(Hook):
    """Every few epochs classifies the validation images by their nearest training images, and logs how well.

    Scalars ``selfsup/knn_accuracy``, ``selfsup/knn_balanced_accuracy`` and, where the classes have an order,
    ``selfsup/knn_kappa`` (quadratic weighted) go to the log, to metrics.csv and its plot, and to the visualizer. The
    labels are those of the set that is trained on (``labels.csv``, or ``diagnosis`` in the annotation files); without
    any, one line says so and the hook rests. The first process probes while the others wait. Modes, batch-norm
    statistics and random numbers are afterwards what they were, so the training is the same with and without it.

    Args:
        interval: epochs between two probes; the last epoch is always probed.
        k: neighbours.
        temperature: of the vote; the smaller, the more the nearest ones count.
        max_images: of the training split and of the validation split, evenly drawn where there are more.
        img_size: side of the images; None takes the config's.

    Raises:
        ConfigError: an argument is out of range, or there are labels but no image size or no backbone.
    """

    priority = "NORMAL"  # before RunFolderHook, which writes the epoch's row

    def __init__(
        self,
        interval: int = 10,
        k: int = 20,
        temperature: float = 0.07,
        max_images: int = 20_000,
        img_size: int | None = None,
    ) -> None:
        for name, value in (("interval", interval), ("k", k), ("max_images", max_images)):
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"KNNProbeHook: {name}={value!r}; give a whole number from 1")
        if not temperature > 0:
            raise ConfigError(f"KNNProbeHook: temperature={temperature}; give a number above 0")
        self.interval, self.k, self.temperature = interval, k, temperature
        self.max_images, self.img_size = max_images, img_size
        self._graded: GradedSet | None = None

    def before_train(self, runner: Runner) -> None:
        """Look for labels."""
        dataset = dataset_configs(runner.cfg)["train_dataloader"][0] if runner.cfg.get("train_dataloader") else {}
        try:
            self._graded = read_graded(dataset.get("data_root") or "")
        except DatasetError as error:
            runner.logger.info(f"no k-NN probe: {error}")
            return
        indices = dataset.get("indices")  # a training on a part of the set is probed on as many
        self._limit = min(self.max_images, indices) if isinstance(indices, int) else self.max_images
        self.img_size = self.img_size or runner.cfg.get("img_size")
        if not isinstance(self.img_size, int):
            raise ConfigError(f"KNNProbeHook: img_size={self.img_size!r}; set it in the hook, or in the config")

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: Mapping | None = None
    ) -> None:
        """Probe at the end of an epoch that is due."""
        if self._graded is None or not self.end_of_epoch(runner.train_dataloader, batch_idx):
            return
        epoch = runner.epoch + 1
        if epoch % self.interval and epoch != runner.max_epochs:
            return
        if is_main_process():
            self._report(runner, self._graded, epoch)
        barrier()

    def _report(self, runner: Runner, graded: GradedSet, epoch: int) -> None:
        start = time.perf_counter()
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        with untouched_random_numbers():
            scores = self._probe(encoder_of(model, runner.cfg), graded, runner.cfg)
        scalars = {f"selfsup/{name}": value for name, value in scores.items()}
        runner.message_hub.update_scalars(scalars)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)
        said = ", ".join(f"{name.removeprefix('knn_').replace('_', ' ')} {value:.3f}" for name, value in scores.items())
        seconds = time.perf_counter() - start
        runner.logger.info(f"k-NN probe after epoch {epoch}: {said} on the validation images ({seconds:.1f} s)")

    def _probe(self, encoder: Encoder, graded: GradedSet, cfg: Config) -> dict[str, float]:
        rows = {split: thinned(graded.rows(split), self._limit) for split in ("train", "val")}
        workers = cfg.train_dataloader.get("num_workers", 0)
        assert self.img_size is not None
        features = {
            split: np.concatenate(
                list(encode_files(encoder, [graded.files[i] for i in of], self.img_size, num_workers=workers))
            )
            for split, of in rows.items()
        }
        labels = {split: graded.labels[of] for split, of in rows.items()}
        cosines, nearest = all_neighbours(features["train"], features["val"], self.k)
        votes = weighted_vote(cosines, labels["train"][nearest], len(graded.classes), self.temperature)
        matrix = grade_matrix(labels["val"], votes.argmax(axis=1), len(graded.classes))
        scores = {"knn_accuracy": float(accuracy(matrix)), "knn_balanced_accuracy": float(balanced_accuracy(matrix))}
        return scores | ({"knn_kappa": float(kappa(matrix))} if graded.ordinal else {})


def thinned(rows: np.ndarray, limit: int) -> np.ndarray:
    """At most ``limit`` of the rows, evenly drawn, the same ones each time."""
    return rows if len(rows) <= limit else rows[np.linspace(0, len(rows) - 1, limit).round().astype(int)]


@contextmanager
def untouched_random_numbers() -> Iterator[None]:
    """Afterwards Python, NumPy and torch (all devices) go on as if nothing had been drawn."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)
