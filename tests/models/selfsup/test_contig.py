"""ContIG: parity with the released code, missing modalities, batch of one, processes, use of its backbone."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn

from medkit.apis.config import load_config
from medkit.engine import load_backbone
from medkit.errors import ConfigError
from medkit.models.selfsup import ContIG
from medkit.models.selfsup.cross_modal import cross_modal_nt_xent, vector_encoder

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


class OneLayer(nn.Module):
    """The golden data's image encoder: a convolution; ContIG itself averages over the map."""

    def __init__(self, channels: int = 20) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (torch.relu(self.conv(images)),)


def golden(folder: Path, name: str) -> dict[str, Tensor]:
    with np.load(folder / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(array.copy()) for key, array in arrays.items()}


def small(**kwargs) -> ContIG:
    torch.manual_seed(0)
    sizes = dict(feat_channels=20, hid_channels=16, out_channels=10)
    modalities = kwargs.pop("modalities", dict(gen=dict(in_features=24)))
    return ContIG(OneLayer(), modalities, **{**sizes, **kwargs})


def with_weights(data: dict[str, Tensor], prefix: str, encoder: str) -> ContIG:
    """A model with the golden weights under ``prefix``."""
    model = small(modalities=dict(gen=dict(in_features=24, encoder=encoder)), legacy=True)
    names = {"genetics_model.hidden_1": "head.gen.0.0", "genetics_model.bn1": "head.gen.0.2"}
    names |= {"genetics_l1": "head.gen.1.0", "genetics_l2": "head.gen.1.2"}
    names |= {"imaging_l1": "neck.gen.0", "imaging_l2": "neck.gen.2", "imaging_model.0": "backbone.conv"}
    state = {}
    for key, value in data.items():
        if key.startswith(f"{prefix}."):
            layer, _, kind = key.removeprefix(f"{prefix}.").rpartition(".")
            state[f"{names[layer]}.{kind}"] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name.startswith("data_preprocessor") for name in missing)
    return model


@pytest.mark.parametrize("alpha, temperature", [(0.75, 0.1), (0.5, 0.1), (0.75, 0.5), (1.0, 0.1), (0.0, 0.1)])
def test_loss_equals_golden(golden_dir: Path, alpha: float, temperature: float) -> None:
    data = golden(golden_dir, "contig_ntxent")
    z_img, z_gen = data["z_img"].requires_grad_(), data["z_gen"].requires_grad_()
    loss = cross_modal_nt_xent(z_img, z_gen, temperature=temperature, alpha=alpha)
    torch.testing.assert_close(loss, data[f"loss_alpha{alpha}_T{temperature}"], rtol=1e-5, atol=1e-6)
    if (alpha, temperature) == (0.75, 0.1):
        loss.backward()
        torch.testing.assert_close(z_img.grad, data["grad_img"], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(z_gen.grad, data["grad_gen"], rtol=1e-5, atol=1e-6)


def test_vector_encoders_equal_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "contig_genetics_mlp")
    h1, _ = vector_encoder("H1", 24, 16)
    first, _ = vector_encoder("H1", 24, 16)
    second, _ = vector_encoder("H1", 16, 12)
    h12 = nn.Sequential(first, second)
    for module, prefix, number in ((h1, "h1", 1), (first, "h12", 1), (second, "h12", 2)):
        linear, norm = f"{prefix}.hidden_{number}.", f"{prefix}.bn{number}."
        module[0].load_state_dict({k: data[linear + k] for k in ("weight", "bias")})
        module[2].load_state_dict({k: data[norm + k] for k in module[2].state_dict()})
        module[2].reset_running_stats()
    close = dict(rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(h1(data["x"]), data["y_h1_train"], **close)
    torch.testing.assert_close(h12(data["x"]), data["y_h12_train"], **close)
    torch.testing.assert_close(h12.eval()(data["x"]), data["y_h12_eval"], **close)


def test_h12_is_two_layers_with_batch_norm_last() -> None:
    encoder, width = vector_encoder("H12", 24, 16)
    assert width == 16
    assert [type(layer).__name__ for layer in encoder] == ["Linear", "ReLU", "BatchNorm1d"] * 2
    with pytest.raises(ConfigError, match="'h3'; give one of none, H1, H12"):
        vector_encoder("h3", 24)


def test_model_equals_golden(golden_dir: Path) -> None:
    data = golden(golden_dir, "contig_model")
    close = dict(rtol=1e-4, atol=1e-5)
    model = with_weights(data, "w0", "H1")
    features = model.backbone(data["img"])[-1].mean(dim=(2, 3))
    torch.testing.assert_close(model.neck["gen"](features), data["z_img"], **close)
    torch.testing.assert_close(model.head["gen"](data["gen"]), data["z_gen"], **close)
    loss = model.losses(data["img"], dict(gen=data["gen"]))["loss_gen"]
    torch.testing.assert_close(loss, data["loss"], **close)
    loss.backward()
    for key in (name for name in data if name.startswith("grad.")):
        layer = key.removeprefix("grad.")
        ours = _grads(model)[layer]
        torch.testing.assert_close(ours, data[key], **close, msg=lambda text, layer=layer: f"{layer}: {text}")
    masked = model._contrast(data["z_img"], data["z_gen"], data["row_mask"])
    torch.testing.assert_close(masked, data["loss_masked_rows"], **close)
    plain = with_weights(data, "none", "none")
    torch.testing.assert_close(plain.head["gen"](data["gen"]), data["z_gen_none"], **close)


def _grads(model: ContIG) -> dict[str, Tensor]:
    layers = {
        "genetics_model.hidden_1": model.head["gen"][0][0],
        "genetics_model.bn1": model.head["gen"][0][2],
        "genetics_l1": model.head["gen"][1][0],
        "genetics_l2": model.head["gen"][1][2],
        "imaging_l1": model.neck["gen"][0],
        "imaging_l2": model.neck["gen"][2],
        "imaging_model.0": model.backbone.conv,
    }
    return {f"{name}.{kind}": p.grad for name, layer in layers.items() for kind, p in layer.named_parameters()}


def batch(rows: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, 3, 16, 16, generator=generator), torch.randn(rows, 24, generator=generator)


def test_absent_rows_change_nothing_but_their_own() -> None:
    images, vectors = batch()
    model, present = small(), torch.tensor([0, 1, 3, 5])
    absent = torch.full_like(vectors, float("nan"))
    absent[present] = vectors[present]
    loss = model.losses(images, dict(gen=absent))["loss_gen"]
    alone = small().losses(images[present], dict(gen=vectors[present]))["loss_gen"]
    torch.testing.assert_close(loss, alone)
    running = model.head["gen"][0][2].running_mean
    legacy = small(legacy=True)
    assert not torch.allclose(legacy.losses(images, dict(gen=absent))["loss_gen"], loss)
    assert not torch.allclose(legacy.head["gen"][0][2].running_mean, running)  # zeros went through


def test_modalities_add_up_divided_by_those_configured() -> None:
    images, vectors = batch()
    absent = torch.full((6, 5), float("nan"))
    two = small(modalities=dict(a=dict(in_features=24), b=dict(in_features=5)))
    losses = two.losses(images, dict(a=vectors, b=absent))
    assert losses["loss_b"] == 0  # nobody has b
    z_image = two.neck["a"](two.backbone(images)[-1].mean(dim=(2, 3)))
    whole = cross_modal_nt_xent(z_image, two.head["a"](vectors))
    torch.testing.assert_close(losses["loss_a"], whole / 2)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in two.parameters())  # or data-parallel training would wait for them
    assert all((p.grad == 0).all() for p in two.head["b"].parameters())


@pytest.mark.parametrize("known", [0, 1, 6])
def test_batch_of_one_and_lonely_rows(known: int) -> None:
    images, vectors = batch(6 if known < 6 else 1)
    if known < 6:
        vectors[known:] = float("nan")
    model = small()
    loss = model.losses(images, dict(gen=vectors))["loss_gen"]
    assert loss == 0
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_chance_level_is_log_of_the_batch() -> None:
    same = torch.ones(8, 4)
    assert cross_modal_nt_xent(same, torch.randn(8, 4)).item() >= math.log(8) - 1e-6
    assert cross_modal_nt_xent(same, same).item() == pytest.approx(math.log(8))


def test_bfloat16_leaves_the_loss_in_float32() -> None:
    images, vectors = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = small().losses(images, dict(gen=vectors))["loss_gen"]
    exact = small().losses(images, dict(gen=vectors))["loss_gen"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.05, atol=0.05)


def _step(rank: int, folder: str, known: list[int]) -> None:
    """One process's gradients, averaged over the processes as data-parallel training does."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    images, vectors = batch(8)
    hidden = torch.ones(8, dtype=torch.bool)
    hidden[known] = False
    vectors[hidden] = float("nan")
    model = small(modalities=dict(gen=dict(in_features=24, encoder="none")), gather=True)
    part = slice(4 * rank, 4 * rank + 4)
    loss = model.losses(images[part], dict(gen=vectors[part]))["loss_gen"]
    loss.backward()
    grads = {}
    for name, parameter in model.named_parameters():
        dist.all_reduce(parameter.grad)
        grads[name] = parameter.grad / 2
    if rank == 0:
        torch.save((loss.detach(), grads), f"{folder}/result.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("known", [list(range(8)), [0, 2, 3, 7], [0, 1, 2]])
def test_gathered_gradient_is_that_of_one_large_batch(tmp_path: Path, known: list[int]) -> None:
    processes = [mp.get_context("fork").Process(target=_step, args=(r, str(tmp_path), known)) for r in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    loss, grads = torch.load(tmp_path / "result.pt")
    images, vectors = batch(8)
    model = small(modalities=dict(gen=dict(in_features=24, encoder="none")))
    whole = model.losses(images[known], dict(gen=vectors[known]))["loss_gen"]
    whole.backward()
    torch.testing.assert_close(loss, whole.detach())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(grads[name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)


def test_wrong_vectors_are_named() -> None:
    from mmpretrain.structures import DataSample

    sample = DataSample()
    sample.set_field({"clinical": np.zeros(4, np.float32)}, "vectors")
    images = torch.zeros(1, 3, 16, 16)
    with pytest.raises(ConfigError, match=r"no vector 'gen', only \['clinical'\]"):
        small().loss(images, [sample])
    with pytest.raises(ConfigError, match=r"have 4 features, the model expects 24; set .*in_features=4"):
        small(modalities=dict(clinical=dict(in_features=24))).loss(images, [sample])
    with pytest.raises(ConfigError, match="modalities is empty"):
        small(modalities={})
    with pytest.raises(ConfigError, match="temperature=0"):
        small(temperature=0)


def test_backbone_loads_into_the_detector() -> None:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        trained = MODELS.build(load_config(CONFIGS / "contig_busi.py").model)
    detector = load_config(CONFIGS / "centernet_simsiam_busi.py").model.backbone
    detector.pop("init_cfg")
    with DefaultScope.overwrite_default_scope("mmdet"):
        backbone = MODELS.build(detector)
    report = load_backbone(backbone, trained.state_dict())
    assert not report.missing and not report.unexpected and len(report.matched) == 100
    assert report.prefix == "backbone."
