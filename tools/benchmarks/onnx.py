"""CenterNet from 8-bit pixels to boxes: PyTorch against onnxruntime, one thread each, milliseconds per image.

Needs the extra ``onnx``. The weights are random, which costs the same time. At 128 px the ResNet-18 has stride 16, as in
the demo; at 512 px stride 32, as for the liver images.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from benchmarks.timing import Row, median_ms
from mmengine.registry import init_default_scope

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
                theirs = median_ms(lambda graph=graph, tensor=tensor: graph(tensor), args.repeats)
            ours = median_ms(lambda run=session.run, images=images: run(None, {"images": images}), args.repeats)
            yield Row(f"CenterNet {size} px, batch {batch}, per image", theirs / batch, ours / batch)


def exported(name: str, folder: Path) -> tuple[torch.nn.Module, object]:
    """The same untrained detector as a PyTorch module and as a session of onnxruntime."""
    cfg = load_config(ROOT / f"configs/{name}.py")
    init_default_scope("mmdet")
    torch.manual_seed(0)
    torch.save({"state_dict": MODELS.build(cfg.model).state_dict()}, folder / "random.pth")
    config = folder / "config.py"
    cfg.dump(config)
    export_onnx(folder / "random.pth", folder / "random.onnx", config, dynamic_batch=True)
    predictor = Predictor(folder / "random.pth", config, device="cpu", score_thr=0.0)
    runtime = OnnxPredictor(folder / "random.onnx", score_thr=0.0, threads=1)
    return ExportedCenterNet(predictor.model, runtime.letterbox.size).eval(), runtime.session
