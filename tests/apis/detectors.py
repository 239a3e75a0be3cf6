"""Run folders of CenterNet and YOLOX for the tests of prediction and export: two iterations, then made opinionated."""

import shutil
from pathlib import Path

import torch

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.evaluation.thresholds import StoredThreshold, write_threshold
from medkit.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
OPTIONS = {"centernet": {"model.test_cfg.topk": 20}, "yolox": {"model.test_cfg.score_thr": 0.0}}


def quick_run(name: str, data: Path, folder: Path) -> Path:
    """Train ``configs/{name}_liver.py`` for two iterations at 64 px and keep a threshold."""
    cfg = load_config(REPO / f"configs/{name}_liver.py", work_dir=folder, data_root=data, quick=True,
                      cfg_options={**OPTIONS[name], "default_hooks.checkpoint.save_best": None})  # fmt: skip
    for part in ("val_cfg", "val_dataloader", "val_evaluator"):
        cfg.pop(part)
    cfg.test_dataloader.dataset.pop("indices")
    train(cfg)
    checkpoint = resolve_checkpoint(folder)
    content = torch.load(checkpoint, weights_only=False)
    torch.save(dict(state_dict=_opinionated(cfg.model, content["state_dict"]), meta={}), checkpoint)
    keep_threshold(folder)
    return folder


def _opinionated(model_cfg, weights: dict) -> dict:
    """A detector of two iterations says the same of all places: fit its batch norms to noise, give boxes a size."""
    torch.manual_seed(0)
    for name, weight in weights.items():
        if name.endswith("wh_head.2.bias"):
            weight.fill_(4.0)
        elif name.endswith(("heatmap_head.0.weight", "heatmap_head.2.weight")) or "conv_obj" in name:
            weight.copy_(torch.randn_like(weight) * 0.1)
    model = MODELS.build(model_cfg)
    model.load_state_dict(weights)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        noise = torch.rand(8, 3, 64, 64) * torch.linspace(0.1, 1, 8)[:, None, None, None] * 255  # dark to bright
        inputs = model.data_preprocessor(dict(inputs=list(noise), data_samples=None), training=False)["inputs"]
        model.train().bbox_head(model.extract_feat(inputs))
    return model.state_dict()


def keep_threshold(folder: Path, score_thr: float = 0.5) -> None:
    write_threshold(resolve_checkpoint(folder), StoredThreshold(score_thr, "val.json", 0.5, 10))


def moved(folder: Path, to: Path) -> Path:
    """A copy of what prediction needs of a run folder."""
    to.mkdir()
    for path in [resolve_checkpoint(folder), *folder.glob("*.py"), folder / "thresholds.json"]:
        shutil.copy(path, to)
    (to / "last_checkpoint").write_text(resolve_checkpoint(folder).name)
    return to
