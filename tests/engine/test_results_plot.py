"""results.png follows the training and never stops it; release epochs are those of the hook; data_wait is logged."""

import re
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from medkit.apis.config import load_config
from medkit.engine.curves import draw_results, release_epochs
from medkit.engine.run_folder import publish_data_wait

from ..prepared import write_prepared
from .toy import toy_config, train

REPO = Path(__file__).resolve().parents[2]


def hooked(mode, schedule=None, epochs=10, stages=None):
    hook = dict(type="medkit.StepwiseUnfreezeHook", mode=mode, schedule=schedule)
    hook |= {} if stages is None else {"stages": stages}
    return Config(dict(custom_hooks=[dict(type="X"), hook], train_cfg=dict(max_epochs=epochs)))


def test_release_epochs():
    names = ["layer4", "layer3", "layer2", "layer1 + stem"]
    assert release_epochs(hooked("stepwise")) == list(zip([3, 5, 7, 9], names, strict=True))
    assert release_epochs(hooked("stepwise", [1, 2, 4, 8])) == list(zip([2, 3, 5, 9], names, strict=True))
    assert release_epochs(hooked("stepwise", [3], stages=[["a", "b"]])) == [(4, "a ...")]
    assert release_epochs(hooked("fix")) == release_epochs(Config(dict())) == []


class Log(list):
    def warning(self, text):
        self.append(text)


def test_drawing_never_raises(tmp_path, monkeypatch):
    log = Log()
    rows = [{"epoch": "1", "split": "train", "loss": "2.5"}, {"epoch": "1", "split": "val", "coco/mAP": "0.25"}]
    path = tmp_path / "results.png"
    draw_results(rows, [(1, "layer4")], path, log)
    before = path.read_bytes()
    assert before.startswith(b"\x89PNG") and not log
    draw_results([{**rows[0], "loss": "many"}], [], path, log)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)  # as if matplotlib were broken
    draw_results(rows, [], path, log)
    assert len(log) == 2 and all("results.png is not drawn" in line for line in log)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["results.png"]


def test_a_training_draws_and_logs_the_share_of_waiting(tmp_path):
    loader = dict(dataset=dict(type="ToyImages"), sampler=dict(type="DefaultSampler", shuffle=False), batch_size=4)
    cfg = toy_config(
        tmp_path,
        max_epochs=2,
        hooks=[dict(type="medkit.RunFolderHook")],
        val_dataloader=loader | dict(num_workers=0),
        val_cfg=dict(type="ValLoop"),
        val_evaluator=dict(type="ToyMetric"),
    )
    train(cfg)
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    log = next(tmp_path.glob("*/*.log")).read_text()
    shares = [float(s) for s in re.findall(r"data_wait: (\d\.\d+)", log)]
    assert len(shares) == 2 * 4 - 1 and all(0 <= share <= 1 for share in shares)  # not yet on the first line
    assert "eta:" in log and re.search(r"Epoch\(train\)\s+\[2\]", log)


def test_data_wait_is_the_share_of_the_time():
    class Buffer:
        def __init__(self, *values):
            import numpy as np

            self.data = np.array(values), np.ones(len(values))

    class Hub:
        def __init__(self):
            self.log_scalars = {"train/time": Buffer(1.0, 3.0), "train/data_time": Buffer(0.0, 3.0)}

        def update_scalar(self, name, value):
            self.log_scalars[name] = value

    class Runner:
        message_hub = Hub()

    publish_data_wait(Runner)
    assert Runner.message_hub.log_scalars["train/data_wait"] == pytest.approx(0.75)


def test_tensorboard_backend(tmp_path):
    """As in mmengine: one more back-end of the visualizer, by --cfg-options; needs medkit[tensorboard]."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from medkit.apis.training import train as train_config

    root = write_prepared(tmp_path / "data", num_images=4)
    backends = [dict(type="mmengine.LocalVisBackend"), dict(type="mmengine.TensorboardVisBackend")]
    cfg = load_config(
        REPO / "configs" / "centernet_liver.py",
        work_dir=tmp_path / "run",
        data_root=root,
        quick=True,
        cfg_options={"visualizer.vis_backends": backends, "visualizer.name": "tensorboard"},  # a name is made once
    )
    train_config(cfg)
    [events] = (tmp_path / "run").glob("*/vis_data/events.out.tfevents.*")
    seen = accumulator.EventAccumulator(str(events)).Reload().Tags()["scalars"]
    assert {"loss", "lr", "data_wait", "coco/mAP"} <= set(seen)
