"""The SparseConvMIL head: the released numbers, padding, empty and single tiles, positions that matter, training."""

import pytest
import torch

from medkit.errors import ConfigError, DatasetError
from medkit.models.mil.sparseconvmil import SparseConvMIL
from tests.models.mil.sparse_cases import golden


def head(**options) -> SparseConvMIL:
    torch.manual_seed(0)
    return SparseConvMIL(**(dict(in_channels=6, num_classes=3, cell=4, channels=(8, 5), hidden=7) | options))


def bags(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    size = (len(lengths), max(lengths))
    mask = torch.arange(size[1])[None] < torch.tensor(lengths)[:, None]
    return torch.randn(*size, 6), mask, torch.randint(-20, 20, (*size, 2))


def test_equals_the_released_code() -> None:
    data = golden("sparseconvmil_forward")
    model = head(channels=(8, 8), hidden=10)
    layout = {
        f"convs.{i // 2}.weight": data[f"w.sparse_cnn.{i}.weight"].view(3, 3, -1, 8).permute(3, 2, 0, 1) for i in (0, 2)
    }
    layout |= {f"convs.{i // 2}.bias": data[f"w.sparse_cnn.{i}.bias"] for i in (0, 2)}
    prefix = "w.wsi_embedding_classifier."
    layout |= {k.replace(prefix, "classifier."): v for k, v in data.items() if k.startswith(prefix)}
    model.load_state_dict(layout)
    out = model(data["tile_embeddings"], None, data["tile_locations"])
    torch.testing.assert_close(out.embedding, data["wsi_embedding"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out.logits, data["logits"], rtol=1e-5, atol=1e-5)
    on_grid = head(channels=(8, 8), hidden=10, cell=1)
    on_grid.load_state_dict(layout)
    again = on_grid(data["tile_embeddings"], None, data["grid_locations"])
    torch.testing.assert_close(again.logits, out.logits)


def test_padded_equals_single_and_order_does_not_matter() -> None:
    model = head().double()
    feats, mask, coords = bags([9, 1, 5, 17])
    feats = feats.double().masked_fill(~mask[..., None], torch.nan)
    together = model(feats, mask, coords)
    assert together.attention is None
    for i, length in enumerate(mask.sum(1).tolist()):
        order = torch.randperm(length)
        alone = model(feats[i : i + 1, order], None, coords[i : i + 1, order])
        torch.testing.assert_close(together.logits[i : i + 1], alone.logits)
        torch.testing.assert_close(together.embedding[i : i + 1], alone.embedding)


def test_an_empty_slide_has_the_embedding_zero() -> None:
    model, (feats, mask, coords) = head(), bags([4, 3])
    full, mask[1] = model(feats, mask, coords), False
    out = model(feats, mask, coords.double().masked_fill(~mask[..., None], torch.nan))
    torch.testing.assert_close(out.logits[0], full.logits[0])
    assert not out.embedding[1].any()
    assert out.extra["cells"].tolist()[1] == 0
    out = model(feats, torch.zeros_like(mask), coords)
    torch.testing.assert_close(out.logits, model.classifier(torch.zeros(2, 5)))


def test_arrangement_decides_and_counts_are_told() -> None:
    """The same six tiles side by side and far apart: another answer, and other neighbour counts."""
    model, feats = head(cell=1).eval(), torch.randn(1, 6, 6).expand(2, 6, 6)
    row = torch.stack([torch.arange(6), torch.zeros(6, dtype=torch.int64)], 1)
    out = model(feats, None, torch.stack([row, row * 5]))
    assert (out.logits[0] - out.logits[1]).abs().max() > 1e-3
    assert out.extra["cells"].tolist() == [6, 6]
    torch.testing.assert_close(out.extra["neighbours"], torch.tensor([10 / 6, 0]))


def test_a_map_that_is_too_fine_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("medkit.models.mil.sparseconvmil.print_log", lambda text, **_: said.append(text))
    row = torch.stack([torch.arange(6), torch.zeros(6, dtype=torch.int64)], 1)[None]
    near, far = head(cell=1), head(cell=1)
    for _ in range(2):
        near(torch.randn(1, 6, 6), None, row)
        far(torch.randn(1, 6, 6), None, row * 5)
    assert len(said) == 1
    assert "0.00 occupied neighbours on average with cell=1" in said[0]


def test_compiles_to_the_same() -> None:
    """With breaks where sites are searched; a second size needs no other code."""
    model, (feats, mask, coords) = head().eval(), bags([9, 4])
    compiled = torch.compile(model, backend="aot_eager")
    for end in (9, 7):
        given = feats[:, :end], mask[:, :end], coords[:, :end]
        torch.testing.assert_close(compiled(*given).logits, model(*given).logits)


def test_augmentation_in_training_only() -> None:
    model, (feats, _, coords) = head(augmentation={}), bags([30])
    first, second = (model(feats, None, coords).logits for _ in range(2))
    assert not torch.equal(first, second)
    model.eval()
    first, second = (model(feats, None, coords).logits for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, head()(feats, None, coords).logits)


def test_learns_what_only_the_arrangement_tells() -> None:
    """Tiles of two kinds: pairs of the kinds touch in one class and lie apart in the other; counts are equal."""
    torch.manual_seed(0)
    labels = torch.arange(64) % 2
    start = torch.randint(0, 3, (64, 6, 1)) + 10 * torch.arange(6)[:, None]  # (B, 6 pairs, 1)
    step = torch.where(labels.bool(), 1, 4)[:, None, None].expand(64, 6, 1)
    x = torch.cat([start, start + step], dim=2).flatten(1)  # (B, 12)
    coords = torch.stack([x, torch.zeros_like(x)], dim=2)
    feats = torch.eye(2).repeat(6, 1).expand(64, 12, 2) + 0.1 * torch.randn(64, 12, 2)
    model = SparseConvMIL(2, 2, cell=1, channels=(8, 8), hidden=None)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.loss(model(feats[:32], None, coords[:32]), labels[:32])["loss_bag"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = model(feats[32:], None, coords[32:]).logits.argmax(1)
    assert (predicted == labels[32:]).double().mean() > 0.95


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_and_half_precision(dtype: torch.dtype) -> None:
    model, (feats, mask, coords) = head(augmentation={}).eval(), bags([9, 4])
    exact = model(feats, mask, coords).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = model(feats.to(dtype), mask, coords)
    out.logits.float().sum().backward()
    torch.testing.assert_close(out.logits.float(), exact, rtol=0.05, atol=0.05)
    torch.testing.assert_close(model.to(dtype)(feats, mask, coords).logits.float(), exact, rtol=0.05, atol=0.05)


def test_double_precision_gradient_through_the_head() -> None:
    model, (feats, mask, coords) = head(channels=(4, 4)).double(), bags([7, 2])
    leaf = feats.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: model(f, mask, coords).logits, leaf)


def test_what_is_refused() -> None:
    model, (feats, mask, coords) = head(), bags([4])
    with pytest.raises(ConfigError, match="SparseConvMIL needs coords"):
        model(feats, mask)
    with pytest.raises(DatasetError, match="not finite"):
        model(feats, mask, coords * torch.inf)
    with pytest.raises(ConfigError, match="cell=0"):
        head(cell=0)
    with pytest.raises(ConfigError, match=r"channels=\(\)"):
        head(channels=())
