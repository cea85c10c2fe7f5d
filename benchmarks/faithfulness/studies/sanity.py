"""Localization in mosaics, and whether maps depend on the class and on the parameters."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.common.localization import correlation, energy, upsample
from benchmarks.faithfulness.studies.methods import Method, Question, all_methods
from benchmarks.faithfulness.studies.networks import Network
from benchmarks.faithfulness.studies.pictures import tile_masks
from benchmarks.faithfulness.studies.removal import Numbers

STAGES = {"head": 0.0, "quarter": 0.25, "half": 0.5, "all": 1.0}
"""The share of modules with parameters that are drawn anew, from the head on. The head alone is the first."""


def grid_pointing(methods: Sequence[Method], question: Question, side: int) -> Numbers:
    """Return the share of each map's positive part in the target's tile; zero without a positive part.

    Target k is the class of tile k. Slow methods explain the first target only. GridPG: M. Boehle et al.,
    "Convolutional Dynamic Alignment Networks for Interpretable Classifications", arXiv:2104.00032, section 4.2.
    """
    masks = tile_masks(side, question.images.shape[2]).to(question.images.device)
    numbers = {}
    for method in methods:
        asked = _first_of(question) if method.slow else question
        maps = upsample(method.maps(asked).relu(), *masks.shape[1:])
        own = masks[: len(maps)]
        shares = energy(maps, torch.stack([own, ~own], dim=1))[:, 0]
        missing = shares.new_full((len(question.targets) - len(shares),), torch.nan)
        numbers[f"GridPG|{method.name}"] = torch.cat([shares, missing])
    return numbers


def _first_of(question: Question) -> Question:
    images, features, targets, others, cells = question
    return Question(images[:1], features[:1], targets[:1], None if others is None else others[:1], cells)


def class_sensitivity(methods: Sequence[Method], question: Question, logits: Tensor, seed: int) -> Numbers:
    """Return the correlation of the likeliest class's map with that of the second, and with that of a random class."""
    ranking = logits.argsort(dim=1, descending=True)
    place = torch.randint(2, logits.shape[1], (len(logits), 1), generator=torch.Generator().manual_seed(seed))
    compared = {"second class": ranking[:, 1], "random class": ranking.gather(1, place.to(ranking.device))[:, 0]}
    numbers = {}
    for method in methods:
        first = method.maps(question._replace(targets=ranking[:, 0]))
        for measure, targets in compared.items():
            other = method.maps(question._replace(targets=targets))
            numbers[f"{measure}|{method.name}"] = correlation(first, other)
    return numbers


def randomisation(
    network: Network, methods: Sequence[Method], question: Question, seed: int, *, peers: bool = True
) -> Numbers:
    """Return the correlation of each map with that of the model after its parameters were drawn anew, from the head on.

    The target stays. Source: J. Adebayo et al., "Sanity Checks for Saliency Maps", arXiv:1810.03292, cascading
    randomization. Correlations are those of signed maps.
    """
    before = {method.name: method.maps(question) for method in methods}
    numbers = {}
    for stage, changed in cascade(network, seed):
        asked = question._replace(features=changed.features(question.images))
        for method in all_methods(changed, seed, peers=peers):
            if method.name in before:
                numbers[f"{stage}|{method.name}"] = correlation(before[method.name], method.maps(asked))
    return numbers


def cascade(network: Network, seed: int) -> Iterator[tuple[str, Network]]:
    """Yield each stage of :data:`STAGES` with a network whose last modules have new parameters.

    Modules are drawn as Quantus does: each from the same seed, by its own ``reset_parameters``.
    """
    stem, tail = copy.deepcopy(network.stem), copy.deepcopy(network.tail)
    modules = nn.Sequential(stem, tail).modules()
    redraws: list[Any] = [m.reset_parameters for m in modules if hasattr(m, "reset_parameters")][::-1]
    done = 0
    with torch.random.fork_rng([]):
        for stage, share in STAGES.items():
            until = max(round(share * len(redraws)), 1)
            for redraw in redraws[done:until]:
                torch.manual_seed(seed + 1)
                redraw()
            done = until
            yield stage, Network(network.name, stem, tail)
