"""Several processes without a GPU: what mmengine's Runner lacks for it.

Command: ``bash tools/dist_train.sh CONFIG 2``.
"""

import torch
import torch.distributed as dist
from mmengine.config import Config, ConfigDict


def prepare_cpu_processes(cfg: Config) -> None:
    """Join the process group and set the model wrapper, if a launcher started this process without a GPU.

    mmengine calls ``torch.cuda.set_device`` when it joins the group and hands the local rank to DDP as its
    device; both fail on the CPU. Call this before ``Runner.from_cfg``. With a GPU, or without a launcher, it
    does nothing.

    Args:
        cfg: changed in place: ``model_wrapper_cfg`` gets ``device_ids=None`` and, where the config has no
            wrapper of its own, mmengine's default with the config's ``find_unused_parameters``.
    """
    if cfg.get("launcher", "none") == "none" or torch.cuda.is_available():
        return
    if not dist.is_initialized():
        dist.init_process_group("gloo")  # address, rank and size from the environment that torchrun sets
    if cfg.get("model_wrapper_cfg") is None:
        cfg.model_wrapper_cfg = ConfigDict(
            type="MMDistributedDataParallel",
            broadcast_buffers=False,
            find_unused_parameters=cfg.get("find_unused_parameters", False),
        )
    cfg.model_wrapper_cfg.device_ids = None
