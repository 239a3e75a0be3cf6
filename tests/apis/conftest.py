"""Detectors that several tests of this room share, made once per session."""

import pytest

from ..prepared import write_prepared
from .detectors import saved, trained


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared"), num_images=5)


@pytest.fixture(scope="session")
def centernet(prepared, tmp_path_factory):
    return saved("centernet", prepared, tmp_path_factory.mktemp("runs") / "centernet")


@pytest.fixture(scope="session")
def yolox(prepared, tmp_path_factory):
    return trained("yolox", prepared, tmp_path_factory.mktemp("runs") / "yolox")
