"""Detectors that several tests of this room share, trained once per session."""

import pytest

from ..prepared import write_prepared
from .detectors import quick_run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared"), num_images=5)


@pytest.fixture(scope="session")
def centernet(prepared, tmp_path_factory):
    return quick_run("centernet", prepared, tmp_path_factory.mktemp("runs") / "centernet")


@pytest.fixture(scope="session")
def yolox(prepared, tmp_path_factory):
    return quick_run("yolox", prepared, tmp_path_factory.mktemp("runs") / "yolox")
