"""References, the short ways to change a config, and what a wrong one says."""

from pathlib import Path

import pytest

from medkit.apis.config import load_config
from medkit.data.checks import dataset_configs
from medkit.errors import ConfigError

REPO = Path(__file__).resolve().parents[2]
CENTERNET = REPO / "configs/centernet_liver.py"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_reference_keeps_type_and_follows_options(tmp_path: Path) -> None:
    path = write(
        tmp_path / "c.py",
        "size = 512\nhalf = '${size // 2}'\nnames = ('a', 'b')\n"
        "model = dict(scale=('${size}', '${half}'), n='${len(names)}', file='x/${size}.json', names='${names}')\n",
    )
    model = load_config(path, cfg_options={"size": 96}).model
    assert model.scale == (96, 48)
    assert model.n == 2 and model.file == "x/96.json" and tuple(model.names) == ("a", "b")


def test_unknown_reference_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "c.py", "model = dict(a='${nowhere}')\n")
    with pytest.raises(ConfigError, match=r"\$\{nowhere\}.*top level"):
        load_config(path)


def test_failing_expression_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "c.py", "a = 'x'\nmodel = dict(a='${a // 2}')\n")
    with pytest.raises(ConfigError, match=r"\$\{a // 2\} fails"):
        load_config(path)


@pytest.mark.parametrize("text", ["model = dict(", "model = undefined", "_base_ = ['./missing.py']"])
def test_broken_config_is_one_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_config(write(tmp_path / "c.py", text))


def test_missing_config() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config("configs/none.py")


def test_data_root_reaches_every_loader() -> None:
    cfg = load_config(CENTERNET, data_root="/somewhere")
    roots = {d.data_root for leaves in dataset_configs(cfg).values() for d in leaves}
    assert roots == {"/somewhere/"}


def test_data_root_without_effect_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no effect"):
        load_config("mmdet::centernet/centernet_r18_8xb16-crop512-140e_coco.py", data_root="x")


def test_amp_uses_bfloat16_on_cpu() -> None:
    assert load_config(CENTERNET, amp=True).optim_wrapper.type == "medkit.Bf16OptimWrapper"


def test_quick_is_two_iterations() -> None:
    cfg = load_config(CENTERNET, quick=True)
    train = cfg.train_dataloader
    assert cfg.train_cfg.max_epochs * (train.dataset.indices // train.batch_size) == 2
    assert cfg.img_size == 64 and train.dataset.pipeline[1].scale == (64, 64)


def test_launcher_without_gpu_uses_gloo() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU: nccl is right")
    assert load_config(CENTERNET, launcher="pytorch").env_cfg.dist_cfg.backend == "gloo"


def test_option_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"max_epoch.*'max_epochs'"):
        load_config(CENTERNET, cfg_options={"max_epoch": 5})
    assert load_config(CENTERNET, cfg_options={"channels_last": True}).channels_last


@pytest.mark.parametrize("options", [{"img_size.x": 1}, {"train_dataloader.dataset.pipeline.99.x": 1}])
def test_option_that_does_not_fit_is_named(options: dict) -> None:
    with pytest.raises(ConfigError, match="do not fit"):
        load_config(CENTERNET, cfg_options=options)


def test_quick_keeps_out_of_the_real_run_folder() -> None:
    assert load_config(CENTERNET).work_dir == "work_dirs/centernet_liver"
    assert load_config(CENTERNET, quick=True).work_dir == "work_dirs/centernet_liver_quick"


def test_quick_fills_a_batch_on_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    loader = load_config(CENTERNET, quick=True, launcher="pytorch").train_dataloader
    assert loader.dataset.indices == 2 * loader.batch_size


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 8, 20, 300])
def test_yolox_schedule_is_in_order(max_epochs: int) -> None:
    cfg = load_config(REPO / "configs/yolox_liver.py", cfg_options={"max_epochs": max_epochs})
    assert all(0 <= each.begin < each.end <= max_epochs for each in cfg.param_scheduler)
    assert cfg.param_scheduler[-1].end == max_epochs - min(15, max_epochs // 4)


def test_amp_does_not_emulate_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert load_config(CENTERNET, amp=True).optim_wrapper.type == "mmengine.AmpOptimWrapper"


def test_data_root_without_slash_keeps_the_cache_inside() -> None:
    cfg = load_config(REPO / "configs/centernet_busi.py", cfg_options={"data_root": "data/x"})
    assert Path(cfg.cache_dir) == Path("data/x/cache")


@pytest.mark.parametrize("name", ["train_pipeline.0.type", "unfreeze", "img_sise"])
def test_option_that_nothing_reads(name: str) -> None:
    """A copied pipeline, a setting inherited from another family, a misspelling: none would have an effect."""
    with pytest.raises(ConfigError, match=r"nothing in .* reads"):
        load_config(REPO / "configs/yolox_liver.py", cfg_options={name: "fix"})
