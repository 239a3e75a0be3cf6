"""Every config builds and trains for two iterations in quick mode."""

from pathlib import Path

import pytest
import torch

from medkit.apis.config import load_config
from medkit.apis.training import train
from tests.prepared import LIVER, write_prepared

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
SSL = sorted(CONFIGS.glob("simsiam_*.py"))
DETECTION = sorted(set(CONFIGS.glob("*.py")) - set(SSL))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    names = (LIVER, ("benign", "malignant"))
    return {classes: write_prepared(tmp_path_factory.mktemp("set"), classes) for classes in names}


def run(path: Path, data_root: Path, work_dir: Path, **options) -> None:
    cfg = load_config(path, quick=True, work_dir=work_dir, data_root=data_root, cfg_options=options)
    runner = train(cfg)
    assert runner.iter == 2
    assert all(torch.isfinite(p).all() for p in runner.model.parameters())
    assert (work_dir / path.name).is_file() and (work_dir / "last_checkpoint").is_file()


@pytest.fixture(scope="module")
def simsiam(prepared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp("simsiam")
    run(CONFIGS / "simsiam_liver.py", prepared[LIVER], work_dir)
    return work_dir


@pytest.mark.parametrize("path", [p for p in SSL if p.stem != "simsiam_liver"], ids=lambda p: p.stem)
def test_pretraining_config(path: Path, prepared, tmp_path: Path) -> None:
    run(path, prepared[LIVER], tmp_path)
    assert "selfsup/std_ratio" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize("path", DETECTION, ids=lambda p: p.stem)
def test_detection_config(path: Path, prepared, simsiam: Path, tmp_path: Path) -> None:
    cfg = load_config(path)
    root = prepared[LIVER if cfg.class_map else tuple(cfg.classes)]
    options = {"pretrained": str(simsiam)} if "pretrained" in cfg else {}
    run(path, root, tmp_path, **options)
