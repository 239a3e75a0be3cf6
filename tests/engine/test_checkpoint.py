"""Finding checkpoints, reading them safely, and loading a backbone from every layout that the field uses."""

import pickle
import shutil

import pytest
import torch
import torchvision
from mmengine.registry import MODELS
from torch import nn

from medkit.engine import load_backbone, read_checkpoint, resolve_checkpoint
from medkit.errors import WeightsError
from tests.engine.toy import RESNET, toy_config, train

SMALL = {**RESNET, "out_indices": (0, 1, 2, 3)}


def resnet(seed=0, **changes):
    """mmdet's ResNet with random weights and statistics everywhere."""
    torch.manual_seed(seed)
    net = MODELS.build({**SMALL, **changes})
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 1)
    return net


def prefixed(state, prefix):
    return {prefix + name: value for name, value in state.items()}


def assert_loaded(net, source):
    for name, value in net.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, source[name]), name


EXTRA = {"fc.0.weight": torch.zeros(3, 3), "fc.0.bias": torch.zeros(3)}
LAYOUTS = {
    "plain": ("", lambda s: s),
    "mmengine": (
        "backbone.",
        lambda s: {"meta": {}, "state_dict": {**prefixed(s, "backbone."), "neck.bn0.weight": torch.ones(1)}},
    ),
    "ddp": ("module.backbone.", lambda s: {"state_dict": prefixed(s, "module.backbone.")}),
    "lightning": ("model.backbone.", lambda s: {"state_dict": prefixed(s, "model.backbone.")}),
    "official SimSiam": (
        "module.encoder.",
        lambda s: {"arch": "resnet18", "state_dict": prefixed({**s, **EXTRA}, "module.encoder.")},
    ),
    "official MoCo": (
        "module.encoder_q.",
        lambda s: {
            "state_dict": {**prefixed(zeros(s), "module.encoder_k."), **prefixed(s, "module.encoder_q.")}
        },
    ),
    "mmselfsup 0.x MoCo": (
        "encoder_q.0.",
        lambda s: {"state_dict": {**prefixed(zeros(s), "encoder_k.0."), **prefixed(s, "encoder_q.0.")}},
    ),
    "mmpretrain BYOL": (
        "backbone.",
        lambda s: {"state_dict": {**prefixed(zeros(s), "target_net.module.0."), **prefixed(s, "backbone.")}},
    ),
    "official BYOL": (
        "online_network.",
        lambda s: {"state_dict": {**prefixed(zeros(s), "target_network."), **prefixed(s, "online_network.")}},
    ),
    "model key": ("", lambda s: {"model": s, "epoch": 3}),
}


def zeros(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path, layout):
    prefix, wrap = LAYOUTS[layout]
    source = resnet(1).state_dict()
    torch.save(wrap(source), tmp_path / "weights.pth")
    net = resnet(2)
    report = load_backbone(net, tmp_path / "weights.pth")
    assert_loaded(net, source)
    assert (report.prefix, len(report.matched), report.missing) == (prefix, 100, ())
    assert report.unexpected == (("fc.0.bias", "fc.0.weight") if "SimSiam" in layout else ())
    assert "100 of 100 tensors matched" in str(report)


def test_torchvision_resnet18(tmp_path):
    source = torchvision.models.resnet18().state_dict()
    torch.save(source, tmp_path / "resnet18.pth")
    net = MODELS.build({"type": "mmdet.ResNet", "depth": 18})
    report = load_backbone(net, tmp_path / "resnet18.pth")
    assert_loaded(net, source)
    assert report.unexpected == ("fc.bias", "fc.weight")


def test_averaged_weights_of_an_mmengine_run(tmp_path):
    """EMAHook puts the averages into `state_dict`; `ema_state_dict` then holds the raw weights."""
    save = {"checkpoint": {"type": "CheckpointHook", "interval": 1}}
    runner, _ = train(
        toy_config(tmp_path, 1, hooks=[{"type": "EMAHook", "momentum": 0.5}], default_hooks=save)
    )
    net = resnet()
    report = load_backbone(net, tmp_path)
    assert report.prefix == "backbone." and len(report.matched) == 100
    averaged = next(
        h for h in runner.hooks if type(h).__name__ == "EMAHook"
    ).ema_model.module.backbone.state_dict()
    assert_loaded(net, averaged)
    assert not torch.equal(averaged["conv1.weight"], runner.model.backbone.conv1.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"base_channels": 16},
            r"0 of 100 tensors match.*conv1.weight \(8, 3, 7, 7\) <- conv1.weight \(16, 3, 7, 7\)",
        ),
        ({"depth": 50}, r"\d+ of 100 tensors match in name and shape, 95% are needed"),
    ],
)
def test_another_network_is_refused_and_changes_nothing(tmp_path, change, message):
    torch.save(resnet(1, **change).state_dict(), tmp_path / "weights.pth")
    net = resnet(2)
    with pytest.raises(WeightsError, match=message):
        load_backbone(net, tmp_path / "weights.pth")
    assert_loaded(net, resnet(2).state_dict())


def test_the_limit_is_95_percent():
    source = resnet(1).state_dict()
    names = [name for name in source if "num_batches" not in name]
    five = {name: value for name, value in source.items() if name not in names[:5]}
    report = load_backbone(resnet(2), five)
    assert report.missing == tuple(names[:5]) and "missing: conv1.weight, bn1.weight" in str(report)
    six = {name: value for name, value in source.items() if name not in names[:6]}
    with pytest.raises(WeightsError, match="94 of 100"):
        load_backbone(resnet(2), six)
    assert len(load_backbone(resnet(2), six, min_matched=0.9).matched) == 94
    without_statistics = {name: value for name, value in source.items() if "running" not in name}
    with pytest.raises(WeightsError, match="60 of 100"):
        load_backbone(resnet(2), without_statistics)


def test_diverged_weights_are_refused():
    source = resnet(1).state_dict()
    source["layer2.0.conv1.weight"][0, 0] = float("nan")
    with pytest.raises(WeightsError, match=r"NaN or infinity .layer2.0.conv1.weight"):
        load_backbone(resnet(2), source)


@pytest.mark.parametrize("content", [{"meta": {"epoch": 1}}, {"state_dict": {}}, [torch.zeros(1)]])
def test_no_weights_inside(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"holds no weights|holds a list; expected a dict"):
        load_backbone(resnet(), tmp_path / "weights.pth")


class Trap:
    def __reduce__(self):
        return print, ("code was run",)


def test_code_inside_a_file_is_not_run(tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": resnet(1).state_dict(), "meta": Trap()}, path)
    with pytest.raises(WeightsError, match=r"Python objects beyond weights .*print.*trust=True"):
        load_backbone(resnet(2), path)
    assert "code was run" not in capsys.readouterr().out
    assert load_backbone(resnet(2), path, trust=True).missing == ()
    assert "code was run" in capsys.readouterr().out


class Getattr:
    def __reduce__(self):
        return getattr, (torch.Tensor, "numpy")


def test_getattr_is_allowed_for_log_histories_only(tmp_path):
    torch.save({"meta": Getattr()}, tmp_path / "weights.pth")
    with pytest.raises(WeightsError, match=r"beyond weights .numpy of Tensor"):
        read_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", b"<html>404</html>", pickle.dumps([1, 2], protocol=2)]
)
def test_files_that_are_no_checkpoints(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights.pth .*damaged or no torch checkpoint"):
        read_checkpoint(tmp_path / "weights.pth")


def test_resolve(tmp_path):
    folder = tmp_path / "work_dirs" / "simsiam_liver"
    with pytest.raises(
        WeightsError, match=r"simsiam_liver does not exist; .*tools/train.py configs/simsiam_liver.py"
    ):
        resolve_checkpoint(folder)
    folder.mkdir(parents=True)
    with pytest.raises(WeightsError, match=r"no file `last_checkpoint` \(checkpoints in it: none\)"):
        resolve_checkpoint(str(folder))
    (folder / "epoch_3.pth").write_bytes(b"x")
    (folder / "last_checkpoint").write_text("/somewhere/else/epoch_3.pth\n")
    assert resolve_checkpoint(folder) == folder / "epoch_3.pth"
    assert resolve_checkpoint(folder / "epoch_3.pth") == folder / "epoch_3.pth"
    shutil.move(folder, tmp_path / "moved")
    assert resolve_checkpoint(tmp_path / "moved") == tmp_path / "moved/epoch_3.pth"
    (tmp_path / "moved/epoch_3.pth").unlink()
    with pytest.raises(WeightsError, match=r"names 'epoch_3.pth', which is not in that folder"):
        resolve_checkpoint(tmp_path / "moved")
    with pytest.raises(WeightsError, match=r"is a URL"):
        resolve_checkpoint("https://example.com/weights.pth")


@pytest.mark.parametrize("depth", [18, 50])
def test_config_initializes_the_backbone_and_nothing_overwrites_it(tmp_path, depth):
    source = resnet(1, depth=depth).state_dict()
    torch.save({"state_dict": prefixed(source, "backbone.")}, tmp_path / "epoch_2.pth")
    (tmp_path / "last_checkpoint").write_text("epoch_2.pth")
    init_cfg = {"type": "medkit.PretrainedBackbone", "checkpoint": str(tmp_path)}
    model = MODELS.build(
        {
            "type": "ToyDetector",
            "backbone": {**SMALL, "depth": depth, "init_cfg": init_cfg},
            "init_cfg": {"type": "Constant", "layer": "Conv2d", "val": 5.0},
        }
    )
    model.init_weights()
    assert_loaded(model.backbone, source)


@MODELS.register_module()
class StubbornStem(nn.Module):
    """Initializes itself in init_weights, as mmcv's DCN layers do."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def init_weights(self):
        nn.init.constant_(self.weight, -1.0)


def test_children_with_an_initialization_of_their_own_keep_the_loaded_weights(tmp_path):
    from mmengine.model import BaseModule

    class Net(BaseModule):
        def __init__(self, init_cfg):
            super().__init__(init_cfg)
            self.stem = StubbornStem()
            self.body = BaseModule(init_cfg={"type": "Constant", "layer": "Linear", "val": 3.0})
            self.body.fc = nn.Linear(2, 2)

    source = {"stem.weight": torch.ones(3), "body.fc.weight": torch.eye(2), "body.fc.bias": torch.ones(2)}
    torch.save(source, tmp_path / "weights.pth")
    net = Net({"type": "medkit.PretrainedBackbone", "checkpoint": str(tmp_path / "weights.pth")})
    net.init_weights()
    assert_loaded(net, source)


def test_mmengines_own_loader_is_silent_about_the_same_file(tmp_path):
    """Why this loader exists: a wrong prefix loads nothing and training goes on."""
    torch.save({"state_dict": prefixed(resnet(1).state_dict(), "encoder.")}, tmp_path / "weights.pth")
    init_cfg = {"type": "Pretrained", "checkpoint": str(tmp_path / "weights.pth")}
    net = MODELS.build({**SMALL, "init_cfg": init_cfg})
    net.init_weights()
    assert not torch.equal(net.conv1.weight, resnet(1).conv1.weight)
    load_backbone(net, tmp_path / "weights.pth")
    assert torch.equal(net.conv1.weight, resnet(1).conv1.weight)
