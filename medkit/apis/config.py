"""Loading a config: references, the short ways to change it, mixed precision, quick mode.

A medkit config is an mmengine config with one addition: a string ``'${name}'`` stands for the top-level setting
``name`` (or a small expression of settings, ``'${max_epochs - 15}'``) and is replaced after ``_base_`` files and
command-line options were merged. So ``img_size``, ``data_root``, ``max_epochs`` ... are each said once and
``--cfg-options img_size=256`` changes every place that uses them. Configs of
mmdet and mmpretrain hold no references and load unchanged. The run folder receives the resolved config.
"""

import difflib
import inspect
import os
import re
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.runner import Runner

from medkit.errors import ConfigError

_REFERENCE = re.compile(r"\$\{([^{}]+)\}")

# What quick mode sets: two iterations on tiny images, to prove that a config runs at all.
_QUICK: dict[str, Any] = {"img_size": 64, "max_epochs": 2, "max_iters": 2, "batch_size": 2, "num_workers": 0}
_QUICK["unfreeze_schedule"] = None
_QUICK["width"] = 8  # of networks trained against each other, which have no small variant
_QUICK["target_size"] = (16, 32, 16)  # of volumes: the smallest that four halvings leave two positions of


# Settings that are read under their own name; any other one counts only where a reference names it.
_READ = {
    *inspect.signature(Runner.__init__).parameters,
    *("auto_scale_lr", "channels_last", "find_unused_parameters", "model_wrapper_cfg", "sync_bn"),
}
# Where each launcher says how many processes there are.
_NUM_PROCESSES = {"pytorch": "WORLD_SIZE", "slurm": "SLURM_NTASKS", "mpi": "OMPI_COMM_WORLD_SIZE"}


def load_config(
    path: str | Path,
    *,
    work_dir: str | Path | None = None,
    data_root: str | Path | None = None,
    cfg_options: dict | None = None,
    quick: bool = False,
    launcher: str = "none",
    amp: bool = False,
) -> Config:
    """Load a config and resolve its references.

    Args:
        path: a config file, or ``mmdet::...`` / ``mmpretrain::...``, their own configs.
        work_dir: run folder; default ``work_dirs/<name of the config>``, with ``_quick`` behind it in quick mode, so
            that a trial leaves the checkpoints of a real run alone.
        data_root: replaces the config's ``data_root``.
        cfg_options: ``{'a.b': value}`` merged into the config.
        quick: two iterations on tiny images.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        amp: mixed precision: bfloat16, or float16 with loss scaling on a GPU that lacks bfloat16.

    Raises:
        ConfigError: file missing or not loadable, unknown option or reference.
    """
    cfg = _read(path)
    _merge(cfg, cfg_options or {}, path)
    if data_root is not None:
        _set_data_root(cfg, str(data_root), path)
    if quick:
        cfg.merge_from_dict({key: value for key, value in _QUICK.items() if key in cfg})
    resolve_references(cfg)
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or Path("work_dirs") / (Path(str(path)).stem + "_quick" * quick))
    cfg.launcher = launcher
    if quick:
        _shorten(cfg)
    if amp:
        _use_amp(cfg)
    if launcher != "none":
        _use_distributed(cfg)
    return cfg


def resolve_references(cfg: Config) -> None:
    """Replace every ``'${expression}'`` in place. A value that is one reference keeps the expression's type."""
    settings = _Settings(cfg)
    for key in list(cfg.keys()):
        cfg[key] = settings.resolve(cfg[key])


class _Settings(dict):
    """The namespace in which expressions are evaluated: the config's top level, itself resolved on access."""

    def __init__(self, cfg: Config) -> None:
        super().__init__(len=len, min=min, max=max, round=round)
        self.cfg = cfg

    def __missing__(self, name: str) -> Any:
        if name not in self.cfg:
            raise KeyError(name)
        return self.resolve(self.cfg[name])

    def resolve(self, value: Any) -> Any:
        if isinstance(value, str):
            whole = _REFERENCE.fullmatch(value)
            return self._evaluate(whole) if whole else _REFERENCE.sub(lambda m: str(self._evaluate(m)), value)
        if isinstance(value, dict):
            for key in value:
                value[key] = self.resolve(value[key])
            return value
        if isinstance(value, (list, tuple)):
            return type(value)(self.resolve(item) for item in value)
        return value

    def _evaluate(self, match: re.Match) -> Any:
        try:
            return eval(match[1], {"__builtins__": {}}, self)  # a config file is Python: nothing new is let in
        except NameError as error:
            raise ConfigError(
                f"the config refers to {match[0]}, but {error}; set it at the config's top level"
            ) from None
        except (ArithmeticError, SyntaxError, TypeError, ValueError) as error:
            raise ConfigError(f"the config's expression {match[0]} fails: {error}") from error


def _read(path: str | Path) -> Config:
    shipped_elsewhere = "::" in str(path)
    if not shipped_elsewhere and not Path(path).is_file():
        raise ConfigError(f"config {path} does not exist; the shipped ones are in configs/")
    try:
        return get_config(str(path)) if shipped_elsewhere else Config.fromfile(str(path))
    except (OSError, SyntaxError, NameError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"config {path} cannot be loaded: {type(error).__name__}: {error}") from error


def _text(cfg: Config) -> str:
    """All settings as text; mmengine's ``pretty_text`` formats them too, which takes half a second."""
    return str(cfg.to_dict())


def num_processes(launcher: str) -> int:
    """Processes of this run, as the launcher's environment says; 1 without a launcher."""
    return int(os.environ.get(_NUM_PROCESSES.get(launcher, ""), 1))


def _merge(cfg: Config, options: dict, path: str | Path) -> None:
    """Merge ``--cfg-options``; a name that nothing reads would be ignored without a word, so it is refused."""
    used = _READ | {word for match in _REFERENCE.findall(_text(cfg)) for word in re.findall(r"\w+", match)}
    for name in options:
        top = name.split(".")[0]
        if top not in used:
            near = difflib.get_close_matches(top, used, n=1) or ["img_size"]
            raise ConfigError(
                f"--cfg-options {name}: nothing in {path} reads {top!r}; names that are read are such as {near[0]!r} "
                "or train_dataloader.dataset.pipeline.0.type"
            )
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, AssertionError, IndexError, ValueError) as error:
        raise ConfigError(f"--cfg-options {options} do not fit {path}: {str(error)[:200]}") from error


def _set_data_root(cfg: Config, data_root: str, path: str | Path) -> None:
    if "data_root" not in cfg or "${data_root}" not in _text(cfg):
        raise ConfigError(
            f"--data-root has no effect on {path}: it does not use ${{data_root}}; set the paths with --cfg-options"
        )
    cfg.data_root = data_root.rstrip("/") + "/"


def _shorten(cfg: Config) -> None:
    """Quick mode, second part: as many images as make one iteration per epoch, a log line for each."""
    from medkit.data.checks import dataset_configs

    for name, leaves in dataset_configs(cfg).items():
        for dataset in leaves:
            dataset.indices = cfg[name].get("batch_size", 1) * num_processes(cfg.launcher)
        cfg[name].update(num_workers=0, persistent_workers=False)
        cfg[name].pop("prefetch_factor", None)
    if "logger" in cfg.get("default_hooks", {}):
        cfg.default_hooks.logger.interval = 1


def _use_amp(cfg: Config) -> None:
    import torch

    if cfg.get("optim_wrapper") is None:
        raise ConfigError("--amp needs an `optim_wrapper` in the config")
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported(including_emulation=False):
        cfg.optim_wrapper.update(type="mmengine.AmpOptimWrapper", loss_scale="dynamic")
    else:
        cfg.optim_wrapper.type = "medkit.Bf16OptimWrapper"


def _use_distributed(cfg: Config) -> None:
    """Without a GPU: gloo, and batch-norm statistics per process, since torch synchronises them on GPUs only."""
    import torch

    if not torch.cuda.is_available():
        cfg.setdefault("env_cfg", ConfigDict())["dist_cfg"] = dict(backend="gloo")
        cfg.pop("sync_bn", None)
