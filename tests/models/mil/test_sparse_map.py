"""Map building and augmentation: golden values, floor, duplicates, the shift of each slide, what is refused."""

import pytest
import torch

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparse_augment import MapAugmentation, transform_positions
from medkit.models.mil.sparse_map import SparseMap, build_map
from tests.models.mil.sparse_cases import golden


@pytest.mark.parametrize("case", range(5))
def test_transformation_equals_golden_values(case: int) -> None:
    data = golden("sparse_map_augmentation")
    params = data[f"case{case}/params_theta_fh_fv_sh_sv_tx_ty"]
    moved = transform_positions(data["loc"], params[0], params[1:3], params[3:5], params[5:7])
    torch.testing.assert_close(moved, data[f"case{case}/transformed"], rtol=1e-9, atol=1e-9)
    grid = data[f"case{case}/grid_floor_minus_min"]
    built = build_map(torch.ones(len(moved), 1), moved, 1)
    assert {tuple(c) for c in built.coords.tolist()} == {tuple(c) for c in grid.tolist()}


def test_truncation_would_give_another_map() -> None:
    """The published truncation changes the cells when positions become negative; floor is blind to a whole shift."""
    data = golden("sparse_map_augmentation")
    assert not torch.equal(data["case0/grid_trunc_minus_min"], data["case1/grid_trunc_minus_min"])
    maps = [build_map(torch.ones(15, 1), data[f"case{i}/transformed"], 1).coords for i in (0, 1)]
    assert torch.equal(*maps)


def test_duplicates_are_averaged_and_slides_start_at_zero() -> None:
    feats = torch.arange(12.0).view(6, 2)
    xy = torch.tensor([[-10, 25], [-9, 29], [-15, 20], [100, 7], [109, -3], [-15, 20]])
    sparse = build_map(feats, xy, 10, batch=torch.tensor([0, 0, 0, 2, 2, 0]), batch_size=3)
    assert sparse.coords.tolist() == [[0, 0], [1, 0], [0, 0], [0, 1]]
    assert sparse.batch.tolist() == [0, 0, 2, 2]
    assert sparse.features.tolist() == [[7, 8], [1, 2], [8, 9], [6, 7]]
    assert sparse.size == (2, 2)


@pytest.mark.parametrize("seed", range(5))
def test_order_of_tiles_and_whole_shifts_do_not_matter(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    feats, xy = torch.randn(60, 3, generator=draw).double(), torch.randint(-50, 50, (60, 2), generator=draw)
    batch, order = torch.randint(0, 3, (60,), generator=draw), torch.randperm(60, generator=draw)
    first = build_map(feats, xy, 12, batch=batch, batch_size=3)
    moved = xy + 12 * torch.tensor([[5, -9], [0, 2], [-70, 1]])[batch]
    second = build_map(feats[order], moved[order], 12, batch=batch[order], batch_size=3)
    assert torch.equal(first.coords, second.coords)
    assert torch.equal(first.batch, second.batch)
    torch.testing.assert_close(first.features, second.features)
    cells = torch.cat([batch[:, None], (xy / 12).floor().long()], 1)
    assert len(first.coords) == len(torch.unique(cells, dim=0))


def test_averages_in_half_precision_are_summed_in_float32() -> None:
    feats = torch.full((5000, 1), 3.0, dtype=torch.float16)  # a running float16 sum would stop growing at 8192
    feats[::2] = 1.0
    sparse = build_map(feats, torch.zeros(5000, 2), 4)
    assert sparse.features.dtype == torch.float16
    assert sparse.features.item() == 2.0


def test_gradient_of_an_average_is_shared() -> None:
    feats = torch.randn(3, 2, requires_grad=True)
    build_map(feats, torch.tensor([[0, 0], [0, 1], [9, 9]]), 4).features.sum().backward()
    assert feats.grad.tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 1]]


def test_large_float_positions_keep_their_cells() -> None:
    x = torch.tensor([2**24, 2**24 + 1])  # one number in float32
    assert len(build_map(torch.ones(2, 1), torch.stack([x, x], 1), 1).coords) == 2


def test_no_tiles() -> None:
    sparse = build_map(torch.zeros(0, 4), torch.zeros(0, 2), 5, batch=torch.zeros(0, dtype=torch.int64), batch_size=2)
    assert (sparse.features.shape, sparse.coords.shape, sparse.batch_size) == ((0, 4), (0, 2), 2)


def test_dense_shows_what_was_put_in() -> None:
    sparse = build_map(torch.tensor([[2.0], [5.0]]), torch.tensor([[0, 0], [3, 1]]), 2)
    grid, mask = sparse.dense()
    assert grid.tolist() == [[[[2.0], [5.0]]]]
    assert mask.sum() == 2
    with pytest.raises(ConfigError, match="dense"):
        SparseMap(torch.ones(1, 1), torch.tensor([[-1, 0]]), torch.tensor([0]), 1).dense()


def test_what_is_refused() -> None:
    feats, xy = torch.ones(2, 3), torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    with pytest.raises(ConfigError, match="cell=0"):
        build_map(feats, xy, 0)
    with pytest.raises(ConfigError, match=r"\(3, 2\)"):
        build_map(feats, torch.zeros(3, 2), 1)
    with pytest.raises(DatasetError, match="finite"):
        build_map(feats, xy * torch.nan, 1)
    with pytest.raises(DatasetError, match="indices 0 to 4"):
        build_map(feats, xy, 1, batch=torch.tensor([0, 4]), batch_size=2)
    with pytest.raises(DatasetError, match="64 bits"):
        build_map(feats, torch.tensor([[0.0, 0.0], [1e12, 1e12]]), 1)
    with pytest.raises(ConfigError, match="int64"):
        SparseMap(feats, xy, torch.zeros(2, dtype=torch.int64), 1)
    with pytest.raises(ConfigError, match="takes features"):
        SparseMap(feats, xy.long(), torch.zeros(3, dtype=torch.int64), 1)
    with pytest.raises(ConfigError, match="zoom"):
        MapAugmentation(zoom=(0, 1))
    with pytest.raises(ConfigError, match="shift=-1"):
        MapAugmentation(shift=-1)


def test_augmentation_turns_each_slide_as_a_whole() -> None:
    """Distances within a slide scale by at most the zoom; slides differ; a seed repeats; off means unchanged."""
    xy = torch.randint(0, 1000, (2, 30, 2)).double()
    xy[1] = xy[0]
    augment = MapAugmentation()
    moved = augment(xy, 100, torch.Generator().manual_seed(1))
    assert torch.equal(moved, augment(xy, 100, torch.Generator().manual_seed(1)))
    assert not torch.allclose(moved[0], moved[1])
    far = torch.cdist(xy, xy) > 0
    ratio = (torch.cdist(moved, moved) / torch.cdist(xy, xy))[far]
    assert 0.7 - 1e-9 <= ratio.min() < ratio.max() <= 1.3 + 1e-9
    assert torch.equal(MapAugmentation(rotation=False, flip=False, zoom=(1, 1), shift=0)(xy, 100), xy)
    turned = MapAugmentation(flip=False, zoom=(1, 1), shift=0)(xy, 100)
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(xy, xy), atol=1e-4, rtol=1e-6)


def test_every_direction_flip_and_zoom_is_drawn() -> None:
    step = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]]).expand(4000, 2, 2)
    draw = torch.Generator().manual_seed(0)
    moved = MapAugmentation(flip=False, zoom=(1, 1))(step, 1, draw)
    way = torch.atan2(*(moved[:, 1] - moved[:, 0]).unbind(-1))
    assert torch.histc(way, 8, -torch.pi, torch.pi).min() > 400  # 500 expected in each of eight directions
    flat = MapAugmentation(rotation=False, zoom=(0.7, 1.3))(step, 1, draw)
    along = (flat[:, 1] - flat[:, 0])[:, 0]
    assert 0.45 < (along < 0).double().mean() < 0.55
    assert along.abs().min() < 0.72
    assert along.abs().max() > 1.28
    assert 1 < flat[:, 0].abs().max() <= 1.3  # shifted by up to one cell, then zoomed
