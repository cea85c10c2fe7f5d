"""One process or several: who takes which part of the work, and how they meet.

Under torchrun they meet through torch.distributed, by gloo on CPUs and by NCCL on GPUs; what they have found they leave
in files, see :mod:`benchmarks.common.pieces`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from benchmarks.common.options import UsageError

T = TypeVar("T")
_PATIENCE = timedelta(days=2)
"""A process that dies is noticed at once; this is for those that have more to do than others."""


@dataclass(frozen=True)
class Ranks:
    """This process among all of them."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def speaks(self) -> bool:
        """Whether it is the one that prints, draws and writes results."""
        return self.rank == 0

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """What this process takes: every piece is somebody's, and nobody else's."""
        return work[self.rank :: self.count]

    def meet(self) -> None:
        """Go on when all have come here.

        Raises:
            UsageError: another process has ended.
        """
        if self.count == 1:
            return
        try:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)
        except RuntimeError as error:
            raise UsageError(
                f"another process of this run has ended, so process {self.rank} stops too; what is done is kept, and "
                "--resume goes on from there"
            ) from error


@contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """This process among those of the run; alone where nobody else was started.

    Raises:
        UsageError: there are fewer GPUs than processes on this machine.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks(device=device)
        return
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise UsageError(
                f"--nproc-per-node: allowed here are at most {torch.cuda.device_count()}, one for each GPU"
            )
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    # Not after an error: the others may wait for this process, and its end is what tells them.
    dist.destroy_process_group()
