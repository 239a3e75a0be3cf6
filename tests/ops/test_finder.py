"""Which module serves mmcv._ext. The main cases run in processes of their own: an import is for life."""

import importlib
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import mmcv.ops
import pytest
import torch

from medkit.errors import OpsError
from medkit.ops import finder
from medkit.ops.standin import UNSUPPORTED, mmcv_op_names, op_sources

REPO = Path(__file__).resolve().parents[2]

# A compiled mmcv._ext as seen from Python: every operator name, and an nms that behaves as ANSWER says.
FAKE = """
import torch
FAKE_EXT = True
def nms(boxes, scores, iou_threshold, offset):
    ANSWER
def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *args, **kwargs: None
"""
WORKS = "return torch.tensor([1, 2])"
WRONG = "return torch.tensor([0, 1, 2])"
RAISES = "raise RuntimeError('nms_impl: implementation for device cuda:0 not found.')"
NO_IMPORT = "pass\nraise ImportError('undefined symbol: _ZN2at')"

# A finder behind Python's own; it stands for site-packages/mmcv/_ext.cpython-*.so.
PLACE_FAKE = """
import importlib.util, sys
class FakeDir:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "mmcv._ext":
            return importlib.util.spec_from_file_location(name, {file!r})
sys.meta_path.append(FakeDir)
"""


def run(*code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(textwrap.dedent(part) for part in code)],
        env={**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def fake(tmp_path):
    def place(answer: str) -> str:
        file = tmp_path / "fake_ext.py"
        file.write_text(FAKE.replace("ANSWER", answer))
        return PLACE_FAKE.format(file=str(file))

    return place


@pytest.fixture
def import_afresh(monkeypatch):
    """Imports mmcv._ext again, after the given code ran, and puts everything back at the end."""

    def again(code: str = ""):
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        monkeypatch.setattr(finder, "_backend", None)
        monkeypatch.setattr(mmcv, "_ext", None)
        monkeypatch.delitem(sys.modules, "mmcv._ext")
        exec(code, {})
        return importlib.import_module("mmcv._ext")

    return again


def test_absent_ext_is_supplied_with_a_real_spec():
    run("""
        import sys
        import mmcv  # before medkit, to be harder
        before = set(sys.modules)
        import medkit
        added = {name.partition(".")[0] for name in set(sys.modules) - before}
        assert added == {"medkit"}, added  # importing medkit is light
        import importlib.util, pkgutil
        from importlib.machinery import ModuleSpec
        from mmengine.utils.dl_utils.misc import mmcv_full_available
        from medkit.ops import backend, install
        finders = list(sys.meta_path)
        install()
        assert sys.meta_path == finders

        def check():
            spec = importlib.util.find_spec("mmcv._ext")
            assert isinstance(spec, ModuleSpec) and spec.name == "mmcv._ext" and spec.loader is not None
            assert mmcv_full_available()
            if sys.version_info < (3, 14):
                assert pkgutil.find_loader("mmcv._ext") is not None

        check()
        assert backend() is None  # looking for it loads nothing
        import mmcv.ops, mmcv._ext
        check()
        assert mmcv._ext.__spec__.name == mmcv._ext.__name__ == "mmcv._ext"
        assert backend().kind == "stand-in" and "no compiled" in backend().reason
    """)


def test_a_working_compiled_ext_is_left_alone(fake):
    run(
        fake(WORKS),
        """
        import medkit
        from medkit.ops import backend
        assert importlib.util.find_spec("mmcv._ext").origin.endswith("fake_ext.py")
        import mmcv.ops, mmcv._ext
        assert mmcv._ext.FAKE_EXT and backend().kind == "compiled"
        assert sys.modules["mmcv.ops.nms"].ext_module is mmcv._ext
        spec = importlib.util.find_spec("mmcv._ext")
        assert spec.origin.endswith("fake_ext.py") and spec.loader is mmcv._ext.__loader__
        assert type(spec.loader).__module__ == "_frozen_importlib_external"
    """,
    )


CHECK_NMS = """
    import torch
    boxes = torch.tensor([[0, 0, 10, 10.], [1, 1, 11, 11], [50, 50, 60, 60]])
    assert mmcv.ops.nms(boxes, torch.tensor([.8, .9, .7]), .5)[1].tolist() == [1, 2]
    assert mmcv._ext is sys.modules["mmcv._ext"] and not hasattr(mmcv._ext, "FAKE_EXT")
    assert importlib.util.find_spec("mmcv._ext").origin == "medkit.ops"
"""


def test_a_broken_compiled_ext_is_replaced(fake):
    run(
        fake(RAISES),
        """
        import medkit, mmcv.ops, mmcv._ext
        from medkit.ops import backend
        assert backend().kind == "stand-in" and "RuntimeError: nms_impl" in backend().reason, backend()
    """,
        CHECK_NMS,
    )


def test_a_broken_ext_loaded_before_medkit_is_replaced(fake):
    run(
        fake(WRONG),
        """
        import mmcv.ops, mmcv._ext
        import medkit
        from medkit.ops import backend
        assert backend().kind == "stand-in" and "kept boxes [0, 1, 2]" in backend().reason, backend()
    """,
        CHECK_NMS,
    )


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (WORKS, "compiled", "works"),
        (WRONG, "stand-in", "kept boxes [0, 1, 2]"),
        (NO_IMPORT, "stand-in", "ImportError: undefined symbol"),
    ],
)
def test_the_backend_says_why(fake, import_afresh, answer, kind, said):
    ext = import_afresh(fake(answer))
    assert finder.backend().kind == kind and said in finder.backend().reason
    assert hasattr(ext, "FAKE_EXT") == (kind == "compiled")


def test_a_working_ext_loaded_before_medkit_is_left_alone(fake, import_afresh, monkeypatch):
    ext = import_afresh(fake(WORKS))
    monkeypatch.setattr(finder, "_backend", None)
    finder.install()
    assert finder.backend().kind == "compiled" and sys.modules["mmcv._ext"] is ext


def test_the_stand_in_can_be_forced(fake, import_afresh, monkeypatch):
    monkeypatch.setenv("MEDKIT_OPS", "standin")
    ext = import_afresh(fake(WORKS))
    assert not hasattr(ext, "FAKE_EXT") and "MEDKIT_OPS" in finder.backend().reason


def test_a_blocked_ext_is_unblocked(import_afresh, monkeypatch):
    ext = import_afresh()
    monkeypatch.setattr(finder, "_backend", None)
    sys.modules["mmcv._ext"] = None
    finder.install()
    assert importlib.import_module("mmcv._ext") is not ext and finder.backend().kind == "stand-in"


def test_an_uncovered_operator_raises_when_called():
    with pytest.raises(OpsError, match=r"'box_iou_rotated'.*--no-build-isolation"):
        mmcv.ops.box_iou_rotated(torch.zeros(1, 5), torch.zeros(1, 5))


def test_every_name_that_mmcv_loads_exists_and_no_other():
    names = mmcv_op_names()
    assert len(names) > 90 and {"nms", "roi_align_forward", "carafe_forward"} <= names
    assert all(callable(getattr(mmcv._ext, name)) for name in names)
    assert not hasattr(mmcv._ext, "__wrapped__") and not hasattr(mmcv._ext, "no_such_operator")
    served_by = {source.name: source.served_by for source in op_sources()}
    assert set(served_by) >= names
    assert served_by["nms"] == "torchvision" and served_by["carafe_forward"] == UNSUPPORTED


def test_environment_report_names_the_stand_in():
    assert "medkit" in mmcv.ops.get_compiler_version()
    assert mmcv.ops.get_compiling_cuda_version() == (torch.version.cuda or "not available")
