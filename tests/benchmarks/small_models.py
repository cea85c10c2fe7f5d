"""Models that take no time: one of torchvision's smallest, and one to attack."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.common.clean_models import CleanModel, Setting, TrainedPart
from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.staged import Memoized, Staged, Tail

SMALL = "shufflenet_v2_x0_5"
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
"""The colours of the cut-outs of the tests."""


def tiny_model(seed: int, trained_part: TrainedPart = "last", quick: bool = True) -> CleanModel:
    """7 x 7 positions of 12 classes. The stem is one convolution, or nothing if all is attacked."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        first = nn.Conv2d(3, 4, 8, stride=8)
        rest = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        head = nn.Linear(6, 12)
    is_whole = trained_part == "all"
    stem = Memoized(nn.Sequential() if is_whole else first)
    tail = Tail(nn.Sequential(first, rest) if is_whole else rest, nn.AdaptiveAvgPool2d(1), head)
    scenes = draw_scenes(12, 6, seed)
    with torch.no_grad():
        attacker = [stem(batch) for batch in torch.split(draw_scenes(12, 8, seed + 1).images, 4)]
        held_out = list(torch.split(stem(scenes.images), 4))
    return CleanModel(
        Staged(stem, tail).eval(), tail.features, attacker, scenes.images[:4], scenes.masks[:4, 0], held_out
    )


TINY = Setting("tiny", 12, tiny_model, ("last", "all"))
