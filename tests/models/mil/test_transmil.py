"""TransMIL and its parts against the official code's numbers; order, squares, memory."""

from pathlib import Path

import pytest
import torch

from medkit.errors import ConfigError
from medkit.models.mil import PPEG, NystromAttention, TransMIL
from medkit.models.mil.nystrom import iterative_pinv
from tests.models.mil.golden import Golden

ATTENTION = {"to_qkv.": "qkv.", "to_out.": "out.", "res_conv.": "conv."}
POSITION = {"proj.": "convs.0.", "proj1.": "convs.1.", "proj2.": "convs.2."}
NAMES = {
    "cls_token": "token",
    "_fc1.": "embed.",
    "_fc2.": "classifier.",
    "norm.": "norm.",
    **{f"pos_layer.{old}": f"position.{new}" for old, new in POSITION.items()},
    **{f"layer{i}.norm.": f"norm{i}." for i in (1, 2)},
    **{f"layer{i}.attn.{old}": f"attention{i}.{new}" for i in (1, 2) for old, new in ATTENTION.items()},
}


@pytest.fixture
def nystrom(golden_dir: Path) -> tuple[Golden, NystromAttention]:
    golden = Golden(golden_dir, "nystrom_attention")
    module = NystromAttention(16, num_heads=2, head_channels=8, num_landmarks=4).double()
    golden.load(module, ATTENTION)
    return golden, module.eval()


def test_nystrom_equals_official_code(nystrom: tuple[Golden, NystromAttention]) -> None:
    """Alone, and two in a batch: an item of ours does not depend on its neighbour, as the official one does."""
    golden, module = nystrom
    both = module(golden["x"])
    for item in (0, 1):
        golden.close(module(golden["x"][item : item + 1]), f"out_item{item}_alone")
        golden.close(both[item : item + 1], f"out_item{item}_alone")
    golden.close(iterative_pinv(golden["pinv_in"]), "pinv_out")


def test_pinv_inverts() -> None:
    matrix = torch.softmax(4 * torch.randn(2, 3, 5, 5, dtype=torch.float64), -1)
    torch.testing.assert_close(iterative_pinv(matrix, 40) @ matrix, torch.eye(5).double().expand(2, 3, 5, 5))


def test_attention_row_is_that_of_the_whole_matrix(nystrom: tuple[Golden, NystromAttention]) -> None:
    """The official inverse starts from the maxima of the batch; one of its two items has them, and is as if alone."""
    golden, module = nystrom
    row = module.attention_of_first(golden["x"])  # (B, H, n)
    q, k, v = module._qkv(golden["x"])
    q_mark, k_mark, inverse = module._landmarks(q, k)
    greatest = int((q_mark @ k_mark.mT).softmax(-1).sum(-2).amax((1, 2)).argmax())
    official = golden["attn_batch2"][:, :, 2, 2:]
    torch.testing.assert_close(row[greatest], official[greatest], **golden.info["tolerance"])
    whole = (q @ k_mark.mT).softmax(-1) @ inverse @ (q_mark @ k.mT).softmax(-1)  # (B, H, 12, 12)
    torch.testing.assert_close(row, whole[:, :, 2, 2:])
    expected = module.out((whole @ v + module.conv(v)).transpose(1, 2).flatten(2))[:, 2:]
    torch.testing.assert_close(module(golden["x"]), expected)


def test_ppeg_equals_official_code(golden_dir: Path) -> None:
    golden = Golden(golden_dir, "ppeg")
    module = PPEG(6).double()
    golden.load(module, POSITION)
    golden.close(module(golden["x"], 5), "out")


@pytest.mark.parametrize("published", [False, True])
def test_transmil_equals_official_code(golden_dir: Path, published: bool) -> None:
    golden = Golden(golden_dir, "transmil_small")
    head = TransMIL(20, 3, embed_channels=32, published_padding=published).eval()
    golden.load(head, NAMES)
    steps: list[torch.Tensor] = []
    head.position.register_forward_hook(lambda module, inputs, out: steps.extend((inputs[0], out)))
    output = head(golden["x"])
    prefix = "pinned_0_0_9/" if published else ""
    golden.close(output.logits, f"{prefix}logits")
    golden.close(steps[0], f"{prefix}after_layer1")
    if not published:
        golden.close(steps[1], "after_ppeg")
        torch.testing.assert_close(output.embedding, golden["after_norm"][:, 0], **golden.info["tolerance"])


@pytest.mark.parametrize("instances", [1, 2, 3, 4, 5, 16, 17])
def test_any_length_fills_a_square(instances: int) -> None:
    """Each instance is seen: its attention is not 0 and a change of it changes the logits."""
    head, bag = TransMIL(6, 2, embed_channels=16).double().eval(), torch.randn(1, instances, 6, dtype=torch.float64)
    output = head(bag)
    assert output.attention.shape == (1, 8, instances) and output.attention.any(1).all()
    for number in range(instances):
        changed = bag.clone()
        changed[0, number] += 1
        assert (head(changed).logits - output.logits).abs().max() > 1e-12


def test_an_instance_that_fills_the_square_has_the_attention_of_its_copies() -> None:
    head, bag = TransMIL(6, 2, embed_channels=16).double().eval(), torch.randn(1, 5, 6, dtype=torch.float64)
    few, many = head(bag), head(torch.cat([bag, bag[:, :4]], dim=1))  # 5 fill 3 x 3 by repeating the first 4
    torch.testing.assert_close(few.logits, many.logits)
    copies = many.attention[..., 5:]
    torch.testing.assert_close(few.attention[..., :4], many.attention[..., :4] + copies)
    torch.testing.assert_close(few.attention[..., 4], many.attention[..., 4])


def test_numbers_kept_for_a_step_are_linear_in_the_bag() -> None:
    def kept(instances: int) -> float:
        sizes: list[int] = []
        head, feats = TransMIL(8, 2, embed_channels=16, num_heads=2), torch.randn(1, instances, 8)

        def note(tensor: torch.Tensor) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            head.loss(head(feats), torch.tensor([1]))
        return sum(sizes) / instances

    assert kept(4096) < 1.1 * kept(1024)


def test_impossible_sizes_are_named() -> None:
    with pytest.raises(ConfigError, match="num_heads=0"):
        NystromAttention(8, num_heads=0)
    with pytest.raises(ConfigError, match="kernel_size=4"):
        NystromAttention(8, kernel_size=4)
