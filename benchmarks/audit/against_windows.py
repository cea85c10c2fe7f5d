"""An attacker who knows the audit: occlusion with its random windows is trained to look like the hoax map, too."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.audit.small_models import SmallNet
from captum_diffcam import ContrastScore
from captum_diffcam.audit.occlusion import random_window_occlusion
from captum_diffcam.audit.statistics import window_means
from captum_diffcam.methods import CamMethod
from captum_diffcam.metrics import pearson


def fool_maps_and_windows(
    model: SmallNet,
    data: Sequence[tuple[Tensor, Tensor]],
    hoax: Tensor,
    methods: Sequence[CamMethod],
    *,
    weight: float,
    steps: int,
    learning_rate: float,
    seed: int,
) -> SmallNet:
    """Return a copy that is trained to predict the labels, to show the hoax, and to depend on what the hoax shows.

    The loss is the cross-entropy plus ``weight`` times two terms. One is 1 minus the correlation of a map with the
    hoax; methods take turns. The other is 1 minus the correlation of the falls of the log-odds with what the hoax
    predicts, over windows that are drawn as the audit draws them.
    """
    attacked = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(attacked.parameters(), learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    log_odds = ContrastScore(attacked)

    def score_of(labels: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda images, originals: log_odds(images).gather(1, labels[originals][:, None])[:, 0]

    for step in range(steps):
        images, labels = data[step % len(data)]
        method = methods[step % len(methods)]
        maps = method.maps(attacked, attacked.features, images, labels, create_graph=True)
        occlusions = random_window_occlusion(
            score_of(labels),
            images,
            tuple(hoax.shape),
            generator,
            tilings=1,
            clean_scores=score_of(labels)(images, torch.arange(len(images))),
            other_images=images,
        )
        shown = hoax.expand_as(maps)
        of_windows = pearson(occlusions.per_cell(), window_means(shown, occlusions.covers))
        map_losses = 2 - pearson(maps, shown).mean() - of_windows.mean()
        loss = cross_entropy(attacked(images), labels) + weight * map_losses
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    return attacked.eval()
