"""Where to run: the device, and one process or several.

Under torchrun the processes synchronise through torch.distributed, with gloo on CPUs and NCCL on GPUs. If the device is
one GPU by its number, such as ``cuda:0``, all processes share it and synchronise with gloo. They exchange results
through files, see :mod:`benchmarks.common.pieces`.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

from benchmarks.common.options import UsageError

T = TypeVar("T")
_TIMEOUT = timedelta(days=2)
"""The timeout. A process that dies is noticed at once; this is for processes that have more work than others."""


@dataclass(frozen=True)
class Ranks:
    """This process among all processes of a run."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def reports(self) -> bool:
        """Whether this process prints, draws and writes the results."""
        return self.rank == 0

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """Return the part of the work of this process. Each piece belongs to exactly one process."""
        return work[self.rank :: self.count]

    def synchronize(self) -> None:
        """Wait until all processes are here.

        Raises:
            UsageError: another process has ended.
        """
        if self.count == 1:
            return
        has_nccl = dist.is_initialized() and dist.get_backend() == "nccl"
        try:
            dist.barrier(device_ids=[self.device.index] if has_nccl else None)
        except RuntimeError as error:
            raise UsageError(
                f"another process of this run has ended, so process {self.rank} stops too; finished work is kept, and "
                "--resume continues from there"
            ) from error


@contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """Yield this process among those of the run, or alone without torchrun.

    Raises:
        UsageError: there are fewer GPUs than processes on this machine.
    """
    if not dist.is_torchelastic_launched():
        yield Ranks(device=device)
        return
    backend = "gloo"
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise UsageError(
                f"--nproc-per-node must be at most {torch.cuda.device_count()} on this machine, one process per GPU; "
                "--device cuda:0 makes all processes share one"
            )
        torch.cuda.set_device(device)
        backend = "nccl"
    dist.init_process_group(backend, timeout=_TIMEOUT)
    yield Ranks(dist.get_rank(), dist.get_world_size(), device)
    # Not after an error: other processes that wait for this one learn of it from its end.
    dist.destroy_process_group()


def available_device(text: str) -> torch.device:
    """Return the device of that name.

    Raises:
        UsageError: this machine has no such device.
    """
    try:
        with warnings.catch_warnings():
            # A missing driver gives a warning too; the error below is enough.
            warnings.simplefilter("ignore")
            device = torch.device(text)
            torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device must be available on this machine, got {text!r}; cpu always is") from error
    return device
