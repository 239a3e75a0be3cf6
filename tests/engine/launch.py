"""Trains configs one after another in the processes that torchrun starts: launch.py CONFIG [CONFIG ...]."""

import sys

from mmengine.config import Config
from mmengine.runner import Runner

from medkit.engine import prepare_cpu_processes

if __name__ == "__main__":
    for path in sys.argv[1:]:
        cfg = Config.fromfile(path)
        cfg.launcher = "pytorch"
        prepare_cpu_processes(cfg)
        Runner.from_cfg(cfg).train()
