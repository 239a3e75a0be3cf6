"""Files of bags: each format gives the same bag, and what is wrong is named."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from medkit.data.bag_files import Bag, read_bag, read_shape, write_bag
from medkit.errors import ConfigError, DatasetError

RNG = np.random.default_rng(0)
BAG = Bag(
    RNG.normal(size=(7, 5)).astype(np.float16),
    RNG.integers(0, 9000, (7, 2)),
    512.0,
    (0.25, 0.26),
    np.array([1, 0, -1, 0, 0, 1, 0], np.int8),
)


def same(a: Bag, b: Bag) -> bool:
    pairs = [(getattr(a, name), getattr(b, name)) for name in ("features", "coords", "instance_labels")]
    return (a.side_px, a.mpp) == (b.side_px, b.mpp) and all(x.dtype == y.dtype and (x == y).all() for x, y in pairs)


def write_h5(path: Path, **parts) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, part in parts.items():
            file[name] = part
    return path


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_what_is_written_is_read(tmp_path: Path, suffix: str) -> None:
    write_bag(tmp_path / f"new/a.{suffix}", BAG)
    assert same(read_bag(tmp_path / f"new/a.{suffix}"), BAG)
    bare = Bag(BAG.features)
    write_bag(tmp_path / f"b.{suffix}", bare)
    found = read_bag(tmp_path / f"b.{suffix}")
    assert found.coords is None and found.mpp is None and found.side_px is None and found.instance_labels is None
    assert [path.name for path in tmp_path.glob("*/*")] == [f"a.{suffix}"]


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    write_bag(tmp_path / "a.h5", BAG)
    with pytest.raises(TypeError):
        write_bag(tmp_path / "a.h5", Bag(np.ones((2, 3))), {"encoder": object()})
    assert same(read_bag(tmp_path / "a.h5"), BAG) and len(list(tmp_path.iterdir())) == 1
    write_bag(tmp_path / "a.h5", BAG, {"encoder": "r18"})
    assert h5py.File(tmp_path / "a.h5").attrs["encoder"] == "r18"
    for name, attrs in (("a.pt", None), ("a.npz", {"encoder": "r18"})):
        with pytest.raises(ConfigError, match=r"written as \.h5"):
            write_bag(tmp_path / name, BAG, attrs)


@pytest.mark.parametrize("shape", [(7, 5), (1, 7, 5)])
def test_clam(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """Features and coordinates without attributes, whose tile size the patch file has; a pt finds its coordinates."""
    coords = BAG.coords
    write_h5(tmp_path / "h5_files/s.h5", features=BAG.features.reshape(shape).astype(np.float32), coords=coords)
    with h5py.File(write_h5(tmp_path / "patches/s.h5", coords=coords), "a") as file:
        file["coords"].attrs.update(patch_size=256, downsample=np.array([2.0, 2.0]))
    (tmp_path / "pt_files").mkdir()
    torch.save(torch.from_numpy(BAG.features), tmp_path / "pt_files/s.pt")
    for path in (tmp_path / "h5_files/s.h5", tmp_path / "pt_files/s.pt"):
        found, head = read_bag(path), read_shape(path)
        assert (found.features == BAG.features).all() and (found.coords == coords).all() and found.side_px == 512
        assert (head.instances, head.width, head.has_coords, head.side_px) == (7, 5, True, 512)
        assert head.nbytes == found.features.nbytes
    torch.save(torch.ones(6, 5), tmp_path / "pt_files/s.pt")  # one tile fewer than there are coordinates
    assert read_bag(tmp_path / "pt_files/s.pt").coords is None and not read_shape(tmp_path / "pt_files/s.pt").has_coords


@pytest.mark.parametrize(
    "text", ["1.5,2,3\n4,5,6\n", "0,1,2\n1.5,2,3\n4,5,6\n", ",0,1,2\n0,1.5,2,3\n1,4,5,6\n", "a,b,c\n1.5,2,3\n4,5,6"]
)
def test_dsmil_csv(tmp_path: Path, text: str) -> None:
    """Plain, with pandas' header, with its index too, with names."""
    (tmp_path / "a.csv").write_text(text)
    assert read_bag(tmp_path / "a.csv").features.tolist() == [[1.5, 2, 3], [4, 5, 6]]
    head = read_shape(tmp_path / "a.csv")
    assert (head.instances, head.width, head.nbytes) == (2, 3, 24)


def test_bfloat16_and_float64(tmp_path: Path) -> None:
    torch.save(torch.ones(2, 3, dtype=torch.bfloat16), tmp_path / "a.pt")
    write_h5(tmp_path / "b.h5", features=np.ones((2, 3)))
    for name in ("a.pt", "b.h5"):
        bag = read_bag(tmp_path / name)
        assert bag.features.dtype == np.float32 and read_shape(tmp_path / name).nbytes == bag.features.nbytes


WRONG = {
    "no features": (dict(coords=np.ones((3, 2))), "no `features`.*coords"),
    "empty": (dict(features=np.ones((0, 4))), "no instance, an empty slide"),
    "flat": (dict(features=np.ones(4)), r"shape \(4,\); expected \(instances, channels\)"),
    "coords": (dict(features=np.ones((4, 3)), coords=np.ones((3, 2))), r"\(3, 2\); expected \(4, 2\)"),
    "coords nan": (dict(features=np.ones((2, 3)), coords=np.full((2, 2), np.nan)), "coords` holds values that are not"),
    "labels": (dict(features=np.ones((2, 3)), instance_labels=[0, 2]), "expected .* -1 unknown"),
    "nan": (dict(features=[[1.0], [np.nan]]), "instance 1 are not finite"),
    "text": (dict(features=np.array([[b"a"]])), "expected float16 or float32"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_in_a_file(tmp_path: Path, name: str) -> None:
    parts, said = WRONG[name]
    path = write_h5(tmp_path / "s.h5", **parts)
    with pytest.raises(DatasetError, match=rf"s\.h5.*{said}"):
        read_bag(path)


@pytest.mark.parametrize("suffix", ["h5", "npz", "pt"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"s.{suffix}"
    if suffix == "pt":
        torch.save(torch.ones(50, 40), path)
    else:
        write_bag(path, Bag(np.ones((50, 40), np.float32)))
    path.write_bytes(path.read_bytes()[:-1000])
    for read in (read_bag, read_shape):
        with pytest.raises(DatasetError, match=rf"s\.{suffix} cannot be read: is it truncated"):
            read(path)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save(Path("x"), tmp_path / "s.pt")
    with pytest.raises(DatasetError, match=r"Weights only load failed"):
        read_bag(tmp_path / "s.pt")


def test_absent_and_unknown(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist; extract"):
        read_bag(tmp_path / "s.h5")
    with pytest.raises(DatasetError, match=r"read from \.h5, \.pt, \.npz, \.csv"):
        read_bag(tmp_path / "s.mat")
