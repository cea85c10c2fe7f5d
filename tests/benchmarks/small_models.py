"""Models that take no time: one of torchvision's smallest, and one to attack."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.common.glyphs import draw_scenes
from benchmarks.common.stem_and_tail import Remembering, Staged, Tail
from benchmarks.common.victims import Reach, Setting, Victim

SMALL = "shufflenet_v2_x0_5"
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
"""Of the cut-outs of the tests."""


def tiny_victim(seed: int, reach: Reach = "last", quick: bool = True) -> Victim:
    """7 x 7 positions of 12 classes; the stem is one convolution, or nothing where all is attacked."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        first = nn.Conv2d(3, 4, 8, stride=8)
        rest = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        head = nn.Linear(6, 12)
    stem = Remembering(nn.Sequential() if reach == "all" else first)
    tail = Tail(nn.Sequential(first, rest) if reach == "all" else rest, nn.AdaptiveAvgPool2d(1), head)
    scenes = draw_scenes(12, 6, seed)
    with torch.no_grad():
        seen = [stem(batch) for batch in torch.split(draw_scenes(12, 8, seed + 1).images, 4)]
        decided = list(torch.split(stem(scenes.images), 4))
    return Victim(Staged(stem, tail).eval(), tail.features, seen, scenes.images[:4], scenes.masks[:4, 0], decided)


TINY = Setting("tiny", 12, tiny_victim, ("last", "all"))
