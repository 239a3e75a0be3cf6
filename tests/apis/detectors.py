"""Run folders of CenterNet and YOLOX for the tests of prediction and export."""

import shutil
from pathlib import Path

import torch
from mmengine.registry import init_default_scope

from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.engine.checkpoint import resolve_checkpoint
from medkit.evaluation.thresholds import StoredThreshold, write_threshold
from medkit.registry import MODELS

REPO = Path(__file__).resolve().parents[2]
# a detector of two iterations is sure of nothing: keep what it has
OPTIONS = {"centernet": {"model.test_cfg.topk": 50}, "yolox": {"model.test_cfg.score_thr": 0.0}}


def trained(name: str, data: Path, folder: Path) -> Path:
    """``configs/{name}_liver.py`` trained for two iterations at 64 px."""
    cfg = _config(name, data, folder)
    train(cfg)
    keep_threshold(folder)
    return folder


def saved(name: str, data: Path, folder: Path) -> Path:
    """An untrained detector whose batch norms were fitted to noise, so that it says something else of each place."""
    cfg = _config(name, data, folder)
    torch.manual_seed(0)
    init_default_scope("mmdet")
    model = MODELS.build(cfg.model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    noise = torch.rand(8, 3, 64, 64) * torch.linspace(0.1, 1, 8)[:, None, None, None] * 255  # dark to bright
    with torch.no_grad():
        for layer in (model.bbox_head.heatmap_head[0], model.bbox_head.heatmap_head[2]):
            layer.weight.normal_(std=0.1)
        model.bbox_head.heatmap_head[2].bias.fill_(-1.0)
        model.bbox_head.wh_head[2].bias.fill_(4.0)
        inputs = model.data_preprocessor(dict(inputs=list(noise), data_samples=None), training=False)["inputs"]
        model.train().bbox_head(model.extract_feat(inputs))
    folder.mkdir(parents=True)
    cfg.dump(folder / Path(cfg.filename).name)
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / "epoch_1.pth")
    (folder / "last_checkpoint").write_text("epoch_1.pth")
    keep_threshold(folder)
    return folder


def _config(name: str, data: Path, folder: Path):
    cfg = load_config(REPO / f"configs/{name}_liver.py", work_dir=folder, data_root=data, quick=True,
                      cfg_options={**OPTIONS[name], "default_hooks.checkpoint.save_best": None})  # fmt: skip
    for part in ("val_cfg", "val_dataloader", "val_evaluator"):
        cfg.pop(part)
    cfg.test_dataloader.dataset.pop("indices")
    return cfg


def keep_threshold(folder: Path, score_thr: float = 0.5) -> None:
    write_threshold(resolve_checkpoint(folder), StoredThreshold(score_thr, "val.json", 0.5, 10))


def moved(folder: Path, to: Path) -> Path:
    """A copy of what prediction needs of a run folder."""
    to.mkdir()
    for path in [resolve_checkpoint(folder), *folder.glob("*.py"), folder / "thresholds.json"]:
        shutil.copy(path, to)
    (to / "last_checkpoint").write_text(resolve_checkpoint(folder).name)
    return to
