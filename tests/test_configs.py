"""Every config builds and trains for two iterations in quick mode."""

from fnmatch import fnmatch
from pathlib import Path

import cv2
import pytest
import torch

from data_prep.saliency import frame_saliency
from data_prep.slide_phantom import SlideOptions, write_slides
from medkit.apis.config import load_config
from medkit.apis.training import train
from medkit.engine import load_backbone, read_checkpoint
from medkit.errors import WeightsError
from tests.anomaly_set import write_anomaly
from tests.bag_set import WIDTH, write_bags
from tests.bank_set import write_banks
from tests.graded import write_graded
from tests.image_bag_set import write_image_bags
from tests.prepared import LIVER, write_prepared
from tests.vectors import write_scored
from tests.volume_set import write_volumes

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DETECTION = sorted(path for path in CONFIGS.glob("*.py") if path.stem.startswith(("centernet_", "yolox_")))
METHODS = ("healthygan_", "ganomaly_", "alad_", "alocc_", "fanogan_", "padim_", "patchcore_")
ANOMALY = sorted(path for path in CONFIGS.glob("*.py") if path.stem.startswith(METHODS))
VOLUMES = sorted(CONFIGS.glob("cae3d_*.py"))
GIGASSL = sorted(CONFIGS.glob("gigassl_*.py"))
IMAGE_BAGS = sorted([*CONFIGS.glob("*_images.py"), *CONFIGS.glob("*_slices.py")])
BAGS = sorted(path for path in CONFIGS.glob("*_slides.py") if "datasets/bags.py" in path.read_text())
SSL = sorted(set(CONFIGS.glob("*.py")) - {*DETECTION, *ANOMALY, *VOLUMES, *GIGASSL, *IMAGE_BAGS, *BAGS})
# Which data a pre-training config gets: pattern of its name -> fixture, the first that fits.
SSL_DATA = {
    "contig_fundus": "scored",
    "contig_busi": "breast",
    "ssit_*_busi": "breast_maps",
    "*_fundus*": "graded",
    "spatial_*": "slides",
    "*": "liver",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], Path]:
    names = (LIVER, ("benign", "malignant"))
    return {classes: write_prepared(tmp_path_factory.mktemp("set"), classes) for classes in names}


@pytest.fixture(scope="module")
def liver(prepared) -> Path:
    return prepared[LIVER]


@pytest.fixture(scope="module")
def breast(prepared) -> Path:
    return prepared["benign", "malignant"]


@pytest.fixture(scope="module")
def breast_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = write_prepared(tmp_path_factory.mktemp("maps"), ("benign", "malignant"))
    (root / "saliency").mkdir()
    for path in (root / "images").iterdir():
        cv2.imwrite(str(root / "saliency" / path.name), frame_saliency(cv2.imread(str(path))))
    return root


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scored(tmp_path_factory.mktemp("scored"))


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_graded(tmp_path_factory.mktemp("graded"))


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("slides") / "set"
    write_slides(out, 2, 1, 0, options=SlideOptions(pitch_mm=1.9))
    return out


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
def test_pretraining_config(path: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    fixture = next(name for pattern, name in SSL_DATA.items() if fnmatch(path.stem, pattern))
    smaller = {"projector_width": 48} if path.stem.startswith("ssit_vit-s") else {}  # checkpoints of 1 GB otherwise
    run(path, request.getfixturevalue(fixture), tmp_path, **smaller)
    assert "selfsup/std_ratio" in (tmp_path / "metrics.csv").read_text()
    check_transfer(path, tmp_path)


def check_transfer(path: Path, work_dir: Path) -> None:
    """A detector takes every tensor of a trained ResNet, and refuses a transformer."""
    from mmdet.models.backbones import ResNet

    backbone = load_config(path).model.backbone
    width = backbone.get("base_channels", 64)
    resnet = ResNet(depth=backbone.get("depth", 18), base_channels=width, stem_channels=width)
    before = {name: tensor.clone() for name, tensor in resnet.state_dict().items()}
    if backbone.type != "mmpretrain.ResNet":
        with pytest.raises(WeightsError, match=r"does not fit the backbone: 0 of 100 tensors .* same\s+kind"):
            load_backbone(resnet, work_dir)
        assert all(torch.equal(tensor, before[name]) for name, tensor in resnet.state_dict().items())
        return
    report = load_backbone(resnet, work_dir)
    assert report.prefix == "backbone." and not report.missing and not report.unexpected


@pytest.mark.parametrize("path", DETECTION, ids=lambda p: p.stem)
def test_detection_config(path: Path, prepared, simsiam: Path, tmp_path: Path) -> None:
    cfg = load_config(path)
    root = prepared[LIVER if cfg.class_map else tuple(cfg.classes)]
    options = {"pretrained": str(simsiam)} if "pretrained" in cfg else {}
    run(path, root, tmp_path, **options)


@pytest.mark.parametrize("path", ANOMALY, ids=lambda p: p.stem)
def test_anomaly_config(path: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    root = write_anomaly(tmp_path_factory.mktemp("anomaly"))
    run(path, root, tmp_path)
    assert read_checkpoint(tmp_path)["meta"]["iter"] == 2


@pytest.mark.parametrize("path", VOLUMES, ids=lambda p: p.stem)
def test_volume_config(path: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    root = write_volumes(tmp_path_factory.mktemp("volumes"), visits=1)
    run(path, root, tmp_path, table=None, columns=dict(_delete_=True), classes=None)
    rows = (tmp_path / "metrics.csv").read_text()
    assert "volumes/rmse" in rows and ("loss_metric" in rows) == ("metric" in path.stem)


AGGREGATED = [*((path, "sparse") for path in GIGASSL), (GIGASSL[-1], "mlp"), (GIGASSL[-1], "attention")]


@pytest.mark.parametrize("path, aggregator", AGGREGATED, ids=lambda x: getattr(x, "stem", x))
def test_gigassl_config(path: Path, aggregator: str, tmp_path: Path) -> None:
    root = write_banks(tmp_path / "set", slides=4)
    run(path, root, tmp_path / "run", aggregator=aggregator, features=6, embedding=16, projection=8)
    rows = (tmp_path / "run" / "metrics.csv").read_text()
    assert "selfsup/std_ratio" in rows and ("neighbours" in rows) == (aggregator == "sparse")


@pytest.mark.parametrize("path", IMAGE_BAGS, ids=lambda p: p.stem)
def test_image_bag_config(path: Path, tmp_path: Path) -> None:
    root = write_image_bags(tmp_path / "set")
    smaller = {"encoder.base_channels": 8, "encoder.stem_channels": 8, "features": 64, "num_classes": 2}
    run(path, root, tmp_path / "run", **smaller)
    assert ("kappa" in (tmp_path / "run" / "metrics.csv").read_text()) == ("attention" in path.stem)
    if path.stem.endswith("_slices"):  # labels of slices, and a backbone trained before, whose statistics stay
        again = dict(pretrained=str(tmp_path / "run"), instance_classes=1)
        run(path, root, tmp_path / "again", **smaller, **again)
        assert "loss_instance" in (tmp_path / "again" / "metrics.csv").read_text()
        first, second = (read_checkpoint(tmp_path / name)["state_dict"] for name in ("run", "again"))
        assert all(torch.equal(first[name], second[name]) for name in first if "running" in name)



@pytest.mark.parametrize("path", BAGS, ids=lambda p: p.stem)
def test_bag_config(path: Path, tmp_path: Path) -> None:
    root = write_bags(tmp_path / "set", cases=8)
    smaller = {"model.head.embed_channels": 32} if path.stem.startswith("transmil") else {}  # its pseudo-inverse
    run(path, root, tmp_path / "run", in_channels=WIDTH, **smaller)
    assert "bags/accuracy" in (tmp_path / "run" / "metrics.csv").read_text()
