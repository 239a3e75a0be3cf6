"""Checkpoints that a kill in the middle of writing cannot spoil.

    default_hooks = dict(checkpoint=dict(type='medkit.SafeCheckpointHook', interval=1, max_keep_ckpts=2, ...))

mmengine writes a checkpoint straight into its final file, writes the last one a second time when validation
finds a new best, and deletes the oldest before it writes the newest. A run that is killed in such a moment
may leave no complete checkpoint to go on from.
"""

import os
import zipfile
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend, register_backend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import Runner

from medkit.engine.reading import resolve_checkpoint
from medkit.errors import ConfigError, WeightsError
from medkit.registry import HOOKS


@register_backend("medkit_atomic", force=True)
class AtomicBackend(LocalBackend):
    """`LocalBackend` that writes beside the target and renames: what is there is always whole."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; the folder is made where it is missing."""
        target = Path(filepath)
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.part")
        with draft.open("wb") as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write text."""
        self.put(obj.encode(encoding), filepath)


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's `CheckpointHook`, for local disks, that leaves a complete checkpoint whenever it is killed.

    Files appear whole or not at all, and an outdated one is deleted after its successor was written. A
    resumed run repeats the validation that followed its checkpoint, because that may have been cut off; so
    the best score and the best checkpoint are those of an uninterrupted run.

    Raises:
        ConfigError: ``backend_args`` or ``file_client_args`` is given; they name another storage.
    """

    def __init__(self, *args, **kwargs) -> None:
        for name in ("backend_args", "file_client_args"):
            if kwargs.get(name) is not None:
                raise ConfigError(
                    f"SafeCheckpointHook writes to local disks, but {name}={kwargs[name]}; remove it, or use "
                    "mmengine's CheckpointHook"
                )
        super().__init__(*args, **{**kwargs, "backend_args": {"backend": "medkit_atomic"}})

    def before_train(self, runner: Runner) -> None:
        """Also repeat the validation of the epoch that a resumed run starts from."""
        super().before_train(runner)
        if self.by_epoch and runner.epoch > 0 and _validation_due(runner):
            runner.logger.info(
                f"SafeCheckpointHook: validating epoch {runner.epoch} again, it may have been cut off"
            )
            runner.val_loop.run()

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        outdated = None
        if (
            self.max_keep_ckpts > 0
            and len(self.keep_ckpt_ids) == self.max_keep_ckpts
            and self.keep_ckpt_ids[-1] != step
        ):
            outdated = (
                self.keep_ckpt_ids.popleft()
            )  # or the base class would delete it before it writes the new one
        super()._save_checkpoint_with_step(runner, step, meta)
        if outdated is not None and outdated != step and is_main_process():
            Path(self.out_dir, self.filename_tmpl.format(outdated)).unlink(missing_ok=True)


def _validation_due(runner: Runner) -> bool:
    """Whether the training loop validates after the epoch that has just been finished."""
    epoch, loop = runner.epoch, runner.train_loop
    if runner.val_loop is None or epoch < loop.val_begin:
        return False
    return epoch % loop.val_interval == 0 or epoch == runner.max_epochs


def resume_checkpoint(path: str | Path) -> Path | None:
    """The checkpoint that a run in the folder ``path`` goes on from; ``None`` where there is none yet.

    Takes what ``last_checkpoint`` names; where that is damaged or gone, the newest complete one, and says so.
    ``path`` may also be a checkpoint file, which then must be complete.

    Raises:
        WeightsError: ``path`` is a damaged file, or the folder holds only damaged checkpoints.
    """
    path = Path(path)
    if path.is_file():
        if not is_complete(path):
            raise WeightsError(
                f"checkpoint {path} is damaged (cut off while it was written?); resume from an earlier one"
            )
        return path
    candidates = sorted(
        (p for p in path.glob("*_*.pth") if not p.name.startswith("best_")), key=_step, reverse=True
    )
    last = _named_last(path)
    if last is not None:
        step = _step(last)
        candidates = [last, *(p for p in candidates if _step(p) < step)]
    chosen = next((p for p in candidates if is_complete(p)), None)
    if candidates and chosen is None:
        names = ", ".join(p.name for p in candidates)
        raise WeightsError(f"all checkpoints in {path} are damaged ({names}); start again without --resume")
    if chosen is not None and chosen != last:
        print_log(
            f"{last or path / 'last_checkpoint'} is damaged or missing; resuming from {chosen}", "current", 30
        )
    return chosen


def _named_last(folder: Path) -> Path | None:
    try:
        return resolve_checkpoint(folder)
    except WeightsError:
        return None


def is_complete(path: Path) -> bool:
    """Whether a checkpoint was written to its end, where a torch archive has the list of its entries."""
    return path.is_file() and zipfile.is_zipfile(path)


def _step(path: Path) -> int:
    digits = path.stem.rsplit("_", 1)[-1]
    return int(digits) if digits.isdigit() else -1
