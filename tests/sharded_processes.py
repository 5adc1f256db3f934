"""Processes on CPUs that train one model in shards, as they would on GPUs; FSDP over gloo.

accelerate leaves FSDP out on CPUs. What comes after that decision works there, so the decision is taken over here.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import multiprocessing

from safechain_ray.training import trainer


def in_shards(work: Callable[[Path], None], folder: Path, count: int = 2) -> None:
    """Call `work(folder)` in processes of one group. Raises what it raises."""
    (folder / "group").unlink(missing_ok=True)  # where they find each other; an earlier group's would mislead them
    multiprocessing.spawn(_process, (work, folder, count), nprocs=count)


def _process(rank: int, work: Callable[[Path], None], folder: Path, count: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=rank, world_size=count)
    AcceleratorState.__init__ = _with_fsdp(AcceleratorState.__init__)
    trainer.trains_in_shards = lambda: True
    work(folder)
    dist.destroy_process_group()


def _with_fsdp(init: Callable[..., None]) -> Callable[..., None]:
    def start(self: Any, *arguments: Any, fsdp_plugin: Any = None, **named: Any) -> None:
        init(self, *arguments, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.FSDP
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin

    return start
