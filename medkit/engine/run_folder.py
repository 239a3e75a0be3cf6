"""What a run folder holds beside logs and checkpoints: environment.json, metrics.csv and results.png, their plot.

    custom_hooks = [dict(type='medkit.RunFolderHook')]

The resolved config is written there by mmengine itself.
"""

import csv
import json
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

import medkit
from medkit.engine.curves import draw_results, release_epochs
from medkit.registry import HOOKS

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "opencv-python-headless",
    "pycocotools",
    "mmengine",
    "mmcv",
    "mmdet",
    "mmpretrain",
    "onedl-mmengine",
    "onedl-mmcv",
    "onedl-mmdetection",
    "onedl-mmpretrain",
)
_FIRST_COLUMNS = ("epoch", "split", "iter", "lr")
_KEY = ("epoch", "split")
_MONITORS = ("selfsup/", "anomaly/")
_DRAW_EVERY = 10  # rows of a loop that counts iterations, from one results.png to the next
_WAIT_WINDOW = 50  # iterations over which the share of waiting is taken


@HOOKS.register_module()
class RunFolderHook(Hook):
    """Writes environment.json, metrics.csv with one row per train epoch and per validation, and its plot results.png.

    A train row holds the mean of every loss over the epoch, of the first process, and the lr of the last
    iteration (the largest among the parameter groups); a validation row holds the metrics. A column that
    appears late is added to the header. A resumed run goes on with the file; rows of epochs that it repeats
    are replaced. A new run in the same folder keeps the old files under the name of its start time.

    results.png is drawn after each validation, and after each epoch of a training that has none. The log line of
    mmengine's LoggerHook gets ``data_wait``, the share of the last 50 iterations' time spent waiting for data.

    Args:
        interval: for a loop that counts iterations: a train row every so many of them, with the mean of each loss over
            the iterations that gave it; ``epoch`` then counts the passes over the training set, with fractions.
    """

    priority = "LOW"

    def __init__(self, interval: int | None = None) -> None:
        self.interval = interval
        self._sums: dict[str, Any] = {}
        self._counts: dict[str, int] = {}  # of each loss: some come only every few iterations
        self._iters = 0
        self._lr = float("nan")
        self._logged: dict[str, int] = {}

    def before_train(self, runner: Runner) -> None:
        """Describe the environment; forget the rows of epochs that a resumed run repeats."""
        if not is_main_process():
            return
        folder = Path(runner.work_dir)
        self._table = MetricsTable(folder / "metrics.csv")
        if runner.epoch == 0 and runner.iter == 0:
            for file in (folder / name for name in ("metrics.csv", "environment.json", "results.png")):
                if file.exists():
                    file.rename(file.with_stem(f"{file.stem}_before_{runner.timestamp}"))
        elif self.interval:
            self._table.drop_after(runner.iter, "iter")
        else:
            self._table.drop_after(runner.epoch)
        text = json.dumps(environment(seed=runner.seed, processes=runner.world_size), indent=2)
        (folder / "environment.json").write_text(text + "\n", encoding="utf-8")

    def before_train_epoch(self, runner: Runner) -> None:
        """Start a new mean; what a monitor logs from now on is the epoch's."""
        self._sums, self._counts, self._iters = {}, {}, 0
        self._logged = monitor_lengths(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Mapping | None = None
    ) -> None:
        """Add up the losses without waiting for the device."""
        if not is_main_process():
            return
        for name, value in (outputs or {}).items():
            value = value.detach() if isinstance(value, torch.Tensor) else value
            if isinstance(value, (int, float)) or (isinstance(value, torch.Tensor) and value.numel() == 1):
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1
        self._iters += 1
        rates = runner.optim_wrapper.get_lr()
        self._lr = max(lr for name in rates if not name.endswith("base_lr") for lr in rates[name])
        publish_data_wait(runner)
        if self.interval and self.every_n_train_iters(runner, self.interval):
            self._put_train_row(runner, runner.iter + 1)
            self.before_train_epoch(runner)
            if self.every_n_train_iters(runner, _DRAW_EVERY * self.interval) and runner.cfg.get("val_cfg") is None:
                self._draw(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Write the epoch's row; hooks that change the lr for the next epoch may already have run."""
        if not is_main_process():
            return
        if self._iters:
            self._put_train_row(runner, runner.iter)
        if (self._iters or self.interval) and runner.cfg.get("val_cfg") is None:
            self._draw(runner)

    def _put_train_row(self, runner: Runner, done: int) -> None:
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        epoch = self._passes(runner, done) if self.interval else runner.epoch + 1
        row = {"epoch": epoch, "split": "train", "iter": done, "lr": self._lr}
        scalars = runner.message_hub.log_scalars
        new = (name for name, length in monitor_lengths(runner).items() if length > self._logged.get(name, 0))
        monitors = {name.removeprefix("train/"): float(scalars[name].current()) for name in new}
        self._table.put({**row, **means, **monitors})

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, Any] | None = None) -> None:
        """Write the validation's row."""
        if is_main_process() and hasattr(self, "_table"):  # no table: `Runner.val` without training
            numbers = {
                k: float(v)
                for k, v in (metrics or {}).items()
                if isinstance(v, (int, float)) or hasattr(v, "item")
            }
            epoch = self._passes(runner, runner.iter) if self.interval else runner.epoch
            self._table.put({"epoch": epoch, "split": "val", "iter": runner.iter, **numbers})
            self._draw(runner)

    def _passes(self, runner: Runner, done: int) -> float:
        """Passes over the training set after ``done`` iterations."""
        return round(done / max(len(runner.train_dataloader), 1), 4)

    def _draw(self, runner: Runner) -> None:
        path = Path(runner.work_dir) / "results.png"
        draw_results(self._table.read(), release_epochs(runner.cfg), path, runner.logger)


def monitor_lengths(runner: Runner) -> dict[str, int]:
    """How often each monitor (``selfsup/...`` of a pre-training, ``anomaly/...``) was logged so far."""
    scalars = runner.message_hub.log_scalars
    names = (name for name in scalars if name.removeprefix("train/").startswith(_MONITORS))
    return {name: len(scalars[name].data[0]) for name in names}


def publish_data_wait(runner: Runner) -> None:
    """Give LoggerHook, and through it every visualizer back-end, the share of time spent waiting for data.

    LoggerHook runs before this hook, so its line holds the share up to the iteration before.
    """
    scalars = runner.message_hub.log_scalars
    if "train/time" in scalars:  # written by mmengine's IterTimerHook, which a config may leave out
        waited, whole = (scalars[f"train/{name}"].data[0][-_WAIT_WINDOW:].sum() for name in ("data_time", "time"))
        runner.message_hub.update_scalar("train/data_wait", float(waited / whole))


class MetricsTable:
    """A csv file with one row per epoch and split; rows and columns can be added, and rows replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, str]]:
        """All rows; empty fields are left out."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return [{k: v for k, v in row.items() if v} for row in csv.DictReader(file)]

    def put(self, row: Mapping[str, Any]) -> None:
        """Add a row; it replaces the one of the same epoch and split."""
        fields = {name: f"{v:.10g}" if isinstance(v, float) else str(v) for name, v in row.items()}
        rows = [r for r in self.read() if any(r.get(name) != fields[name] for name in _KEY)]
        self._write([*rows, fields])

    def drop_after(self, done: int, unit: str = "epoch") -> None:
        """Remove the rows of later epochs, or iterations."""
        self._write([row for row in self.read() if int(row[unit]) <= done])

    def _write(self, rows: list[dict[str, str]]) -> None:
        names = list(dict.fromkeys([*_FIRST_COLUMNS, *(name for row in rows for name in row)]))
        draft = self.path.with_name(f".{self.path.name}.part")
        with draft.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
        draft.replace(self.path)  # a kill leaves the old table or the new one


def environment(**more: Any) -> dict[str, Any]:
    """Versions, device, code state and command line of this process."""
    cuda = torch.cuda.is_available()
    return {
        "medkit": medkit.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "cuda": torch.version.cuda if cuda else None,
        "threads": torch.get_num_threads(),
        "git": _git_state(),
        "command": sys.argv,
        **more,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the checkout that medkit runs from, and whether files differ; ``None`` without one."""
    root = Path(medkit.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None

    def git(*args: str) -> str:
        run = subprocess.run(
            ["git", "-C", str(root), *args], capture_output=True, text=True, timeout=30, check=True
        )
        return run.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None  # no git program, or a checkout that git refuses to read
