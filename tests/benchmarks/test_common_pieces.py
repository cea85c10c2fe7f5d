"""Runs in pieces: one process or several, stopped and resumed, the same digits."""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.common import pieces
from benchmarks.common.distributed import Ranks
from benchmarks.common.options import UsageError
from benchmarks.common.pieces import Work, in_pieces

KEYS = {f"a/b, {index}?": index for index in range(7)}


def arguments(folder, resume=False, overwrite=False, **others):
    device = torch.device("cpu")
    return argparse.Namespace(
        output=Path(folder),
        resume=resume,
        overwrite=overwrite,
        seed=3,
        device=device,
        command="python -m benchmarks x",
        **others,
    )


def draw(index):
    """Return numbers that depend on the state of the generator."""
    return {"index": index, "drawn": [torch.rand(index).double() / 3], "nothing": math.nan, "third": 1 / 3, "text": "é"}


def plain(results):
    return {
        key: (value["index"], value["third"], value["text"], math.isnan(value["nothing"]), value["drawn"][0].tolist())
        for key, value in results.items()
    }


@pytest.fixture
def expected(tmp_path):
    with in_pieces(arguments(tmp_path / "expected")) as work:
        results = plain(work.run_pieces(KEYS, draw))
    assert list(results) == list(KEYS)
    return results


DYING = """
import os, signal, sys
sys.path[:0] = {paths}
from test_common_pieces import KEYS, arguments, draw, in_pieces
def do(index):
    if index == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(index)
with in_pieces(arguments(sys.argv[1])) as work:
    work.run_pieces(KEYS, do)
    print("done")
"""


def test_a_process_that_dies_ends_the_run_and_the_rest_is_resumed(tmp_path, expected):
    here, script = Path(__file__), tmp_path / "script.py"
    script.write_text(DYING.format(paths=[str(here.parent), str(here.parents[2])]))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    killed = subprocess.run(
        [*launcher, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert killed.returncode != 0
    assert killed.stdout == ""
    assert "Signal 9 (SIGKILL)" in killed.stderr
    # The second process has the pieces 1, 3 and 5.
    kept = {path.name for path in (tmp_path / "unfinished").glob("*.pt")}
    assert "a%2Fb, 1%3F.pt" in kept
    assert not {"a%2Fb, 3%3F.pt", "a%2Fb, 5%3F.pt"} & kept
    with in_pieces(arguments(tmp_path, resume=True)) as work:
        assert plain(work.run_pieces(KEYS, draw)) == expected


@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_same_digits_from_many_processes(tmp_path, expected, count, monkeypatch):
    monkeypatch.setattr(Ranks, "synchronize", lambda self: None)
    for rank in reversed(range(count)):
        results = Work(tmp_path, 3, Ranks(rank, count)).run_pieces(KEYS, draw)
    assert plain(results) == expected


def test_resumed_is_as_uninterrupted(tmp_path, expected):
    done = []

    def stop(index):
        done.append(index)
        if len(done) == 4:
            raise KeyboardInterrupt
        return draw(index)

    with pytest.raises(KeyboardInterrupt), in_pieces(arguments(tmp_path)) as work:
        work.run_pieces(KEYS, stop)
    with in_pieces(arguments(tmp_path, resume=True)) as work:
        assert plain(work.run_pieces(KEYS, stop)) == expected
    # What was done is not done again, but for the one that was begun.
    assert done == [0, 1, 2, 3, 3, 4, 5, 6]
    # Nothing is left, so a run begins, whatever its options are.
    with in_pieces(arguments(tmp_path, resume=True, other=1)) as work:
        assert list(work.folder.glob("*.pt")) == []


def test_an_unfinished_run_is_not_lost(tmp_path):
    with pytest.raises(TypeError), in_pieces(arguments(tmp_path, images=[tmp_path])) as work:
        work.run_pieces({"one": 1, "two": ""}, lambda piece: piece + 1)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        in_pieces(arguments(tmp_path, images=[tmp_path])).__enter__()
    with pytest.raises(UsageError, match=r"--resume.*images was .*, is None; peer was None, is 'x'"):
        in_pieces(arguments(tmp_path, resume=True, images=None), peer="x").__enter__()
    with in_pieces(arguments(tmp_path, resume=True, images=[tmp_path])) as work:
        assert work.folder.is_dir()
    assert not work.folder.exists()


def test_an_unfinished_run_is_overwritten_on_request(tmp_path):
    """Whether it failed or was interrupted, and whatever its options were."""
    for error in (KeyboardInterrupt, UsageError):

        def fail(piece, error=error):
            if piece == 2:
                raise error
            return piece

        with pytest.raises(error), in_pieces(arguments(tmp_path, overwrite=True)) as work:
            work.run_pieces({"one": 1, "two": 2}, fail)
        with pytest.raises(UsageError, match="--overwrite"):
            in_pieces(arguments(tmp_path)).__enter__()
        with in_pieces(arguments(tmp_path, overwrite=True, other=1)) as work:
            assert dict(work.run_pieces({"one": 1, "two": 2}, lambda piece: 10 * piece)) == {"one": 10, "two": 20}
        assert not work.folder.exists()


def test_a_run_without_results_is_not_in_the_way(tmp_path):
    with pytest.raises(KeyboardInterrupt), in_pieces(arguments(tmp_path)):
        raise KeyboardInterrupt
    with in_pieces(arguments(tmp_path, other=1)) as work:
        assert work.run_pieces({"one": 1}, draw)["one"]["index"] == 1


def test_a_result_that_cannot_be_kept(tmp_path):
    with (
        pytest.raises(TypeError, match=r"`do`.*Ranks"),
        in_pieces(arguments(tmp_path)) as work,
    ):
        work.run_pieces({"one": 1}, lambda _: Ranks())
    assert [path.name for path in work.folder.iterdir()] == ["options.json"]


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    def half(results, path):
        path.write_text("half")
        raise OSError("no room")

    monkeypatch.setattr(pieces.torch, "save", half)
    with pytest.raises(OSError, match="no room"), in_pieces(arguments(tmp_path)) as work:
        work.run_pieces({"one": 1}, draw)
    assert not list(work.folder.glob("*.pt"))


def test_pieces_that_need_the_results_of_others(tmp_path):
    with in_pieces(arguments(tmp_path)) as work:
        first = work.run_pieces({"a": 1, "b": 2}, lambda piece: piece)
        second = work.run_pieces({"c": "a", "d": "b"}, lambda key: first[key] * 10)
        assert dict(first | second) == {"a": 1, "b": 2, "c": 10, "d": 20}
        assert len(first) == 2


def test_what_there_is_no_time_for_is_left(tmp_path, monkeypatch):
    now = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(pieces.time, "monotonic", lambda: next(now))
    with in_pieces(arguments(tmp_path)) as work:
        results = work.run_pieces({"a": 1, "b": 2, "c": 3}, lambda piece: piece, until=1.5)
        assert dict(results) == {"a": 1, "b": 2}
        assert work.left == ["c"]
    monkeypatch.undo()
    with in_pieces(arguments(tmp_path, resume=True)) as work:
        assert dict(work.run_pieces({"a": 1, "b": 2, "c": 3}, lambda piece: 10 * piece)) == {"a": 1, "b": 2, "c": 30}
    assert not work.folder.exists()


@pytest.mark.parametrize(
    ("here", "count", "launcher"),
    [(1, 1, "python"), (4, 4, "torchrun --nproc-per-node 4"), (4, 8, "torchrun --nnodes 2 --nproc-per-node 4")],
)
def test_the_command_says_how_many(monkeypatch, here, count, launcher):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(here))
    assert pieces._launcher(count) == launcher
