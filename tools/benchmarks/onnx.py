"""CenterNet from 8-bit pixels to boxes: PyTorch against onnxruntime, one thread each, milliseconds per image.

Needs the extra ``onnx``. Median of the CPU time of calls that take turns, so that other work on the machine disturbs
neither. The weights are random, which costs the same time. At 128 px the ResNet-18 has stride 16, as in the demo; at
512 px stride 32, as for the liver images.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope

from benchmarks.timing import Row
from medkit.apis.config import load_config
from medkit.apis.onnx_export import ExportedCenterNet, export_onnx
from medkit.apis.onnx_predictor import OnnxPredictor
from medkit.apis.predictor import Predictor
from medkit.registry import MODELS

CONFIGS = {"centernet_simsiam_phantom": 128, "centernet_liver": 512}
ROOT = Path(__file__).resolve().parents[2]


def rows(args: argparse.Namespace) -> Iterator[Row]:
    """Time both at batch 1 and 8."""
    torch.set_num_threads(1)
    for name, size in CONFIGS.items():
        with tempfile.TemporaryDirectory() as folder:
            graph, session = exported(name, Path(folder))
        for batch in (1, 8):
            images = np.random.default_rng(0).integers(0, 256, (batch, 3, size, size), dtype=np.uint8)
            tensor = torch.from_numpy(images)
            with torch.inference_mode():
                calls = (lambda g=graph, t=tensor: g(t), lambda s=session, i=images: s.run(None, {"images": i}))
                theirs, ours = in_turns(calls, args.repeats)
            yield Row(f"CenterNet {size} px, batch {batch}, per image", theirs / batch, ours / batch)


def in_turns(calls: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median CPU time in ms of each call, the first two rounds left out."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 2):
        for call, spent in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            spent.append(time.process_time() - start)
    return [statistics.median(spent[2:]) * 1e3 for spent in times]


def exported(name: str, folder: Path) -> tuple[torch.nn.Module, Any]:
    """The same untrained detector as a PyTorch module and as a session of onnxruntime."""
    cfg = load_config(ROOT / f"configs/{name}.py")
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    torch.nn.init.constant_(model.bbox_head.wh_head[-1].bias, 4.0)  # boxes with an area, or there is nothing to compare
    torch.save({"state_dict": model.state_dict()}, folder / "random.pth")
    config = folder / "config.py"
    cfg.dump(config)
    export_onnx(folder / "random.pth", folder / "random.onnx", config, dynamic_batch=True)
    predictor = Predictor(folder / "random.pth", config, device="cpu", score_thr=0.0)
    runtime = OnnxPredictor(folder / "random.onnx", score_thr=0.0, threads=1)
    return ExportedCenterNet(predictor.model, runtime.letterbox.size).eval(), runtime.session
