"""Times and memory are measured in processes of their own."""

from __future__ import annotations

import math
import sys

import pytest

from benchmarks.cost.cases import Case
from benchmarks.cost.processes import measure_allocated, peak_mib, times

CASE = Case("mobilenet_v3_small", "early", 2, 32, 5)


def test_memory_is_measured_in_a_process_of_its_own():
    peak = peak_mib("forward", CASE, threads=1)
    assert math.isnan(peak) or 0 <= peak < 500


def test_allocations_grow_with_the_image():
    """At the peak there are the first convolution's output, which has 16 channels, and its normalization."""
    small, large = (
        measure_allocated(Case("mobilenet_v3_small", "early", 2, size, 5), "forward") for size in (256, 512)
    )
    convolved = 2 * 16 * 256 * 256 * 4 / 2**20
    assert 2 * convolved < large < 4 * convolved
    assert large / small == pytest.approx(4, rel=0.1)


def test_times_are_measured_in_a_process_of_their_own():
    rows = times(CASE, 2, threads=1)
    assert set(rows) == {"forward", "LayerGradCam", "DiffGradCAM"}
    assert rows["DiffGradCAM"]["seconds"]["median"] > 0
    assert rows["DiffGradCAM"]["to_forward"]["lower"] <= rows["DiffGradCAM"]["to_forward"]["upper"]


def test_why_that_process_failed(tmp_path, monkeypatch):
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho why >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(failing))
    with pytest.raises(RuntimeError, match=r"memory.*mobilenet_v3_small.*nobody.*why$"):
        peak_mib("nobody", CASE, threads=1)
