"""Models that take no time: one of torchvision's smallest, and one to attack."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.common.glyphs import draw_scenes
from benchmarks.sham.attacked_models import Recipe, Setting, Victim
from benchmarks.sham.stem_and_tail import Remembering, Staged, Tail

SMALL = "shufflenet_v2_x0_5"


def tiny_victim(seed: int, quick: bool) -> Victim:
    torch.manual_seed(seed)
    stem = Remembering(nn.Conv2d(3, 4, 8, stride=8))
    tail = Tail(nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU()), nn.Linear(6, 12))
    scenes = draw_scenes(12, 6, seed)
    data = [stem(batch) for batch in torch.split(draw_scenes(12, 8, seed + 1).images, 4)]
    model = Staged(stem, tail).eval()
    return Victim(
        model, tail.features, data, scenes.images, scenes.labels[:, 0], scenes.masks[:, 0], Recipe(2, 1e-3, 1.0)
    )


TINY = Setting("tiny", 12, tiny_victim)
