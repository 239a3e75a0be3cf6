"""Fixtures that several rooms share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import medkit  # noqa: F401  before any test imports mmdet: it supplies mmcv._ext

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: two cores are shared by several processes

REPO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real image sets; the test skips, saying so, where it is absent."""
    path = Path(os.environ.get("MEDKIT_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"real image sets are not at {path}; set MEDKIT_SHARED_DATA to run this test")
    return path


@pytest.fixture(autouse=True)
def _no_leftover_scope() -> Iterator[None]:
    """A Runner leaves its default scope behind, in which the next test would look up its types."""
    yield
    if "mmengine" in sys.modules:
        from mmengine.registry import DefaultScope

        DefaultScope._instance_dict.clear()
