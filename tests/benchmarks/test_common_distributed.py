"""The work is split, and the processes wait for each other."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common import distributed
from benchmarks.common.distributed import Ranks, ranks
from benchmarks.common.options import UsageError

ALONE = Ranks()


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("pieces", [0, 1, 5, 6, 20])
def test_every_piece_is_taken_once(count, pieces):
    work = list(range(pieces))
    taken = [piece for rank in range(count) for piece in Ranks(rank, count).share(work)]
    assert sorted(taken) == work


def test_waiting_for_a_process_that_has_ended(monkeypatch):
    def barrier(**_):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1234")

    monkeypatch.setattr(distributed.dist, "barrier", barrier)
    ALONE.synchronize()
    with pytest.raises(UsageError, match=r"another process.*process 0"):
        Ranks(0, 2).synchronize()


def test_alone_unless_started_by_torchrun():
    with ranks(torch.device("cpu")) as processes:
        assert (processes.rank, processes.count, processes.reports) == (0, 1, True)
