"""SSiT equals the official code: ViT, patch selection, losses, one whole step; and refuses what it cannot use."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS
from torch import Tensor, nn

from medkit.errors import ConfigError, DatasetError
from medkit.models.selfsup import info_nce
from medkit.models.selfsup.ssit_head import saliency_loss
from medkit.models.selfsup.ssit_vit import most_salient, num_kept, pool_saliency
from tests.models.selfsup.ssit_golden import ARCH, load, model, our_name, vit_name


def batch(size: int = 64, count: int = 4) -> dict[str, list[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    views = [torch.randn(count, 3, size, size, generator=generator) for _ in range(2)]
    maps = [torch.rand(count, 1, size, size, generator=generator) for _ in range(2)]
    return dict(inputs=views, saliency=maps)


# ---------------------------------------------------------------- golden parity
def test_vit_equals_official(golden_dir: Path) -> None:
    golden = load(golden_dir, "ssit_vit_forward")
    vit = MODELS.build(dict(type="medkit.SaliencyViT", arch=ARCH, img_size=64, patch_size=16))
    weights = {vit_name(n[2:]): w for n, w in golden.items() if n.startswith("w.") and "head" not in n}
    vit.load_state_dict(weights)  # strict: every tensor has its place
    vit.eval()
    with torch.no_grad():
        (tokens,), (masked,) = vit(golden["x"]), vit(golden["x"], most_salient(golden["pmap"], 0.25))
    torch.testing.assert_close(tokens, golden["tokens"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(masked, golden["tokens_masked"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ratio, name", [(0.25, "active_idx_ratio025"), (0.5, "active_idx_ratio050")])
def test_patch_selection_equals_official(ratio: float, name: str, golden_dir: Path) -> None:
    golden = load(golden_dir, "ssit_patch_sampler")
    for mode in ("max", "avg"):
        pooled = pool_saliency(golden["saliency"], 16, mode)
        torch.testing.assert_close(pooled, golden[f"pooled_{mode}"], rtol=0, atol=1e-6)
    kept = most_salient(golden["pooled_max"], ratio)
    assert torch.equal(kept + 1, golden[name][:, 1:])  # the official indices count the class token


def test_info_nce_equals_official(golden_dir: Path) -> None:
    golden = load(golden_dir, "ssit_contrastive_loss")
    q = golden["q"].requires_grad_()
    loss = info_nce(q, golden["k"], 0.2)
    loss.backward()
    torch.testing.assert_close(loss, golden["loss_T02"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(q.grad, golden["grad_q_T02"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(info_nce(q, golden["k"], 1.0), golden["loss_T1"], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def step(golden_dir: Path) -> tuple[dict[str, Tensor], nn.Module, dict[str, Tensor], dict[str, list[Tensor]]]:
    """One step of our model from the official weights: golden data, model, losses, outputs by module."""
    golden = load(golden_dir, "ssit_model_step")
    net = model().train()
    net.load_state_dict({our_name(n[3:]): w for n, w in golden.items() if n.startswith("w0.")})
    seen: dict[str, list[Tensor]] = {}
    for name in ("neck", "head.predictor", "momentum_encoder.neck"):
        record = seen.setdefault(name, [])
        net.get_submodule(name).register_forward_hook(lambda m, a, out, record=record: record.append(out[0]))
    losses = net([golden["x1"], golden["x2"]], saliency=[golden["m1"], golden["m2"]], mode="loss")
    sum(losses.values()).backward()
    return golden, net, losses, seen


def test_step_losses_equal_official(step) -> None:
    golden, _, losses, _ = step
    torch.testing.assert_close(losses["loss_contrastive"], golden["cl_loss"], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["loss_saliency"], 10 * golden["ss_loss"], rtol=1e-4, atol=0)
    torch.testing.assert_close(sum(losses.values()), golden["total_loss_cl1_ss10"], rtol=1e-4, atol=0)


def test_step_features_equal_official(step) -> None:
    golden, _, _, seen = step
    official = dict(zip(("neck", "head.predictor", "momentum_encoder.neck"), "tqk", strict=True))
    for name, letter in official.items():
        for view in (0, 1):
            torch.testing.assert_close(seen[name][view], golden[f"{letter}{view + 1}"], rtol=1e-3, atol=1e-4)


def test_step_gradients_equal_official(step) -> None:
    """The json's absolute tolerance, an estimate, is below float32's rounding here: in float64 the official
    gradients, up to 8.5, are themselves off by up to 7e-5. So 1e-4, and 1e-4 of each tensor's norm.
    """
    golden, net, _, _ = step
    parameters = dict(net.named_parameters())
    names = [n for n in golden if n.startswith("grad.")]
    assert len(names) == 6
    for name in names:
        ours = parameters[our_name(name[5:])].grad
        torch.testing.assert_close(ours, golden[name], rtol=5e-3, atol=1e-4)
        assert (ours - golden[name]).norm() < 1e-4 * golden[name].norm(), name
    norm = nn.utils.clip_grad_norm_([p for p in parameters.values() if p.grad is not None], torch.inf)
    torch.testing.assert_close(norm, golden["grad_global_norm"], rtol=5e-3, atol=1e-5)
    assert all(p.grad is None for p in net.momentum_encoder.parameters())


def test_step_moves_the_average_but_not_its_buffers(step) -> None:
    golden, net, _, _ = step
    state = net.state_dict()
    names = [n for n in golden if n.startswith("w1.")]
    assert len(names) == 5
    for name in names:
        torch.testing.assert_close(state[our_name(name[3:])], golden[name], rtol=1e-5, atol=1e-6)
    assert state["momentum_encoder.neck.bn0.num_batches_tracked"] == 2  # train mode: both views went through
    assert not torch.equal(state["momentum_encoder.neck.bn0.running_mean"], state["neck.bn0.running_mean"])


# ---------------------------------------------------------------- properties
def test_the_average_starts_at_the_weights_and_first_moves_by_the_momentum() -> None:
    net = model(momentum=0.9)
    net.init_weights()
    before = {n: p.clone() for n, p in net.backbone.named_parameters()}
    assert all(torch.equal(p, before[n]) for n, p in net.momentum_encoder["backbone"].named_parameters())
    with torch.no_grad():
        for parameter in net.backbone.parameters():
            parameter += 1
    net.update_momentum_encoder()
    for name, parameter in net.momentum_encoder["backbone"].named_parameters():
        torch.testing.assert_close(parameter, before[name] + 0.1)


def test_everything_but_the_average_is_trained() -> None:
    net = model()
    assert {n.split(".")[0] for n, p in net.named_parameters() if not p.requires_grad} == {"momentum_encoder"}
    sum(net(**batch(), mode="loss").values()).backward()
    assert [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None] == []
    assert net.backbone.patch_embed.projection.weight.grad.abs().sum() > 0
    assert net.backbone.pos_embed.grad.abs().sum() > 0


@pytest.mark.parametrize("ratio, tokens", [(0.25, 13), (0.0, 17), (1.0, 17), (2.0, 17)])
def test_mask_ratio_hides_patches_from_the_keys_only(ratio: float, tokens: int) -> None:
    net = model(mask_ratio=ratio)
    lengths: list[int] = []
    for backbone in (net.backbone, net.momentum_encoder["backbone"]):
        backbone.register_forward_hook(lambda m, a, out: lengths.append(out[0].shape[1]))
    net(**batch(), mode="loss")
    assert lengths == [17, 17, tokens, tokens]


def test_keys_depend_on_where_the_map_is_high() -> None:
    net = model(mask_ratio=0.5).train()
    view, maps = batch()["inputs"][0], torch.zeros(4, 1, 64, 64)
    maps[..., :32, :] = 1
    key = net.key(view, maps)
    changed = view.clone()
    changed[..., 32:, :] = 0  # the hidden half
    torch.testing.assert_close(net.key(changed, maps), key)
    assert not torch.allclose(net.key(changed, 1 - maps), net.key(view, 1 - maps))


def test_ties_keep_the_first_patches() -> None:
    pooled = torch.zeros(1, 1, 14, 14)
    pooled[0, 0, 13, 13] = 1
    assert most_salient(pooled, 0.25)[0].tolist() == [195, *range(146)]


def test_paper_keeps_147_of_196() -> None:
    assert num_kept(196, 0.25) == 147 and num_kept(196, 1.0) == 196


def test_losses_are_float32_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = model()(**batch(), mode="loss")
    q, k = torch.randn(2, 8, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(info_nce(q, k), info_nce(q.double(), k.double()), check_dtype=False)
        low = info_nce(q.bfloat16(), k.bfloat16())
    assert {v.dtype for v in (*losses.values(), low)} == {torch.float32}


def test_saliency_threshold_is_strict() -> None:
    logits = torch.full((1, 1, 2, 2), 9.0)
    assert saliency_loss(logits, torch.full((1, 1, 2, 2), 0.5)) > 8  # 0.5 is background
    assert saliency_loss(logits, torch.full((1, 1, 2, 2), 0.51)) < 0.001


def test_other_sizes_and_not_square_ones_pass() -> None:
    net = model().eval()
    assert net(torch.rand(2, 3, 96, 64))[0].shape == (2, 1 + 24, 32)


def test_preprocessor_normalises_views_and_leaves_maps() -> None:
    cfg = dict(type="medkit.SaliencyDataPreprocessor", mean=[1.0, 2.0, 3.0], std=[2.0] * 3, to_rgb=True)
    data = dict(inputs=[torch.full((2, 3, 4, 4), 9, dtype=torch.uint8)] * 2, saliency=[torch.rand(2, 1, 4, 4)] * 2)
    data["inputs"][0][:, 0] = 5  # blue
    out = MODELS.build(cfg)(data, training=True)
    assert out["inputs"][0][0, :, 0, 0].tolist() == [4.0, 3.5, 1.0]
    assert torch.equal(out["saliency"][1], data["saliency"][1]) and out["data_samples"] is None


def test_initialised_as_timm() -> None:
    net = model()
    net.init_weights()
    layer = net.backbone.layers[0]
    for weight in (layer.attn.qkv.weight, layer.ffn.layers[1].weight, net.backbone.pos_embed):
        assert 0.017 < weight.std() < 0.023
    assert not layer.attn.qkv.bias.any() and net.backbone.cls_token.any()


# ---------------------------------------------------------------- named errors
@pytest.mark.parametrize(
    "options, message",
    [
        (dict(img_size=100), "100 x 100 pixels, is no multiple of patch_size=16; set img_size=96"),
        (dict(mask_ratio=-0.1), "mask_ratio=-0.1"),
        (dict(mask_ratio=0.99), "keeps none of 16 patches"),
        (dict(momentum=99.0), "momentum=99.0"),
        (dict(pool_mode="mean"), "pool_mode='mean'"),
    ],
)
def test_impossible_settings_are_named(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(**options)


def test_images_that_patches_do_not_fill_are_named() -> None:
    with pytest.raises(ConfigError, match="size of the images, 72 x 72 pixels"):
        model()(**batch(72), mode="loss")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda maps: None, "0 saliency maps for 2 views, expected two of each"),
        (lambda maps: maps[:1], "1 saliency maps for 2 views"),
        (lambda maps: [maps[0], maps[1][..., :32]], r"view 2 have shape \(4, 1, 64, 32\), expected \(4, 1, 64, 64\)"),
        (lambda maps: [(m * 255).byte() for m in maps], "are torch.uint8, expected float from 0 to 1"),
    ],
)
def test_maps_that_do_not_fit_are_named(change, message: str) -> None:
    data = batch()
    with pytest.raises(DatasetError, match=message):
        model()(data["inputs"], saliency=change(data["saliency"]), mode="loss")


def test_batch_without_maps_is_named() -> None:
    with pytest.raises(DatasetError, match=r"no 'saliency'.*PackSaliencyViews"):
        MODELS.build(dict(type="medkit.SaliencyDataPreprocessor"))(dict(inputs=[torch.zeros(1, 3, 4, 4)]))
