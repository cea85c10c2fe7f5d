"""The work is split, and the processes meet."""

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


def test_meeting_nobody_who_is_left(monkeypatch):
    def barrier(**_):
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1234")

    monkeypatch.setattr(distributed.dist, "barrier", barrier)
    ALONE.meet()
    with pytest.raises(UsageError, match="another process of this run has ended, so process 0 stops too"):
        Ranks(0, 2).meet()


def test_alone_unless_started_by_torchrun():
    with ranks(torch.device("cpu")) as processes:
        assert (processes.rank, processes.count, processes.speaks) == (0, 1, True)
