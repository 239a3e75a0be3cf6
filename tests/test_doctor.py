"""The doctor ends well on a sound installation, and names each trouble with its cure in one line."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import mmcv._ext
import pytest
import torch

from medkit import doctor
from tests.prepared import write_prepared

CENTERNET = str(Path(__file__).resolve().parents[1] / "configs/centernet_liver.py")


@pytest.fixture
def report(capsys):
    """Runs the doctor; gives the exit status, all it printed, and its lines on troubles."""

    def run(*argv):
        status = doctor.main(list(argv))
        text = capsys.readouterr().out
        return status, text, [line for line in text.splitlines() if line.startswith("- ")]

    return run


def test_it_is_light_and_helps():
    code = "import sys, medkit.doctor; assert not {'torch', 'mmcv', 'mmengine', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    helped = subprocess.run([sys.executable, "-m", "medkit.doctor", "--help"], capture_output=True, text=True)
    assert helped.returncode == 0 and "--config" in helped.stdout


def test_a_sound_installation(report):
    status, text, troubles = report()
    assert (status, troubles) == (0, [])
    assert f"torch {torch.__version__.partition('+')[0]}" in text
    assert "stand-in; mmcv has no compiled operators" in text or "compiled" in text
    assert "all is well" in text
    runs = [line for line in text.splitlines() if line.endswith(" ms")]
    assert len(runs) == 2 * (1 + torch.cuda.is_available())


def test_every_operator_is_listed(report):
    _, text, _ = report()
    for line in (
        "  nms  ",
        "  softnms  ",
        "  modulated_deform_conv_backward  ",
        "  ms_deform_attn_forward  ",
    ):
        assert line in text
    assert "others raise OpsError" in text


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda boxes, *args, **kwargs: torch.arange(len(boxes)), "1000 boxes kept, expected the first 500"),
        (lambda *args, **kwargs: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_an_operator_that_fails(report, monkeypatch, broken, said):
    monkeypatch.setattr(mmcv._ext, "nms", broken)
    status, text, troubles = report()
    assert status == 1 and len(troubles) == 1 + torch.cuda.is_available()
    assert said in troubles[0] and "pip install --force-reinstall" in troubles[0]
    assert "DCNv2 forward and backward  cpu" in text  # it goes on


def test_a_wrong_convolution(report, monkeypatch):
    original = mmcv._ext.modulated_deform_conv_backward

    def scaled(*args, **kwargs):
        original(*args, **kwargs)
        args[8].mul_(1.1)  # grad_weight

    monkeypatch.setattr(mmcv._ext, "modulated_deform_conv_backward", scaled)
    status, _, troubles = report()
    assert status == 1 and "DCNv2" in troubles[0] and "differs by" in troubles[0]


def test_a_package_that_does_not_import(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    status, text, troubles = report()
    assert status == 1 and troubles[0].startswith("- import pycocotools failed with ModuleNotFoundError")
    assert "pip install -c constraints.txt" in troubles[0] and "operators" not in text


def test_a_package_that_comes_twice(report, monkeypatch):
    owners = dict(metadata.packages_distributions(), mmcv=["onedl-mmcv", "mmcv"])
    version = metadata.version
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    monkeypatch.setattr(metadata, "version", lambda name: "2.1.0" if name == "mmcv" else version(name))
    status, _, troubles = report()
    assert status == 1 and "mmcv comes from 2 packages" in troubles[0]
    assert "pip uninstall -y mmcv onedl-mmcv" in troubles[0]


def test_a_version_outside_the_range(report, monkeypatch):
    wanted = ["torch<2", "absent-package>=1", 'pytest<1; extra == "dev"', "numpy>=1"]
    monkeypatch.setattr(metadata, "requires", lambda name: wanted)
    status, text, troubles = report()
    assert status == 1 and len(troubles) == 2
    assert "is not <2" in troubles[0] and "absent-package is not installed" in troubles[1]
    assert "operators run" in text


def test_data_of_a_config(report, tmp_path):
    root = write_prepared(tmp_path / "set")
    status, _, troubles = report("--config", CENTERNET, "--data-root", str(root))
    assert (status, troubles) == (0, [])
    next((root / "images").glob("val_*")).unlink()
    status, _, troubles = report("--config", CENTERNET, "--data-root", str(root))
    assert status == 1 and len(troubles) == 1 and "1 of 6 images" in troubles[0]


def test_a_config_that_does_not_exist(report):
    status, _, troubles = report("--config", "configs/nothing.py")
    assert status == 1 and "configs/nothing.py does not exist" in troubles[0]


def test_data_root_alone_is_refused(capsys):
    with pytest.raises(SystemExit):
        doctor.main(["--data-root", "somewhere"])
    assert "--data-root needs --config" in capsys.readouterr().err
