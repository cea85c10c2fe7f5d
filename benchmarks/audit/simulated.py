"""Simulated audits: maps and falls whose relation is known, at the limit between two verdicts."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from benchmarks.audit import plan
from captum_diffcam.audit.auditing import interim_sizes, shares_of_alpha
from captum_diffcam.audit.occlusion import Occlusions
from captum_diffcam.audit.report import Evidence, decide
from captum_diffcam.audit.statistics import Measurements, measure

GRID = (7, 7)
ALPHA, IMAGES = 0.05, 32
_MANY = 400
"""Images from which the true measures are estimated."""
_METHODS = 3


def random_maps(count: int, generator: torch.Generator) -> Tensor:
    """Return smooth random maps, (N, 7, 7)."""
    noise = torch.randn(count, 1, *GRID, generator=generator)
    return 3 * conv2d(pad(noise, (1, 1, 1, 1), mode="replicate"), torch.full((1, 1, 3, 3), 1 / 9))[:, 0]


def tilings(count: int, generator: torch.Generator, number: int = 2) -> Tensor:
    """Return random tilings of three by four windows of whole cells, (N, T, 12, 7, 7)."""
    covers = torch.zeros(count, number, 12, *GRID)
    for image, tiling in product(range(count), range(number)):
        bands = []
        for parts in (3, 4):
            inner = sorted((torch.randperm(6, generator=generator)[: parts - 1] + 1).tolist())
            bands.append([slice(*ends) for ends in zip([0, *inner], [*inner, 7], strict=True)])
        if int(torch.randint(2, (1,), generator=generator)):
            bands.reverse()
        for window, (rows, columns) in enumerate(product(*bands)):
            covers[image, tiling, window, rows, columns] = 1
    return covers


def measurements(truth: Tensor, maps: Tensor, seed: int, *, noise: float = 1.0) -> Measurements:
    """Return what an audit measures if hiding cells lowers the log-odds by the values of ``truth``, and noise."""
    generator = torch.Generator().manual_seed(seed)
    covers = tilings(len(truth), generator)
    falls = torch.einsum("ntkc,nc->ntk", covers.flatten(3), truth.flatten(1))
    areas = covers.flatten(3).sum(dim=3)
    falls = falls + noise * areas.sqrt() * torch.randn(falls.shape, generator=generator)
    shifts = ([(1, 2), (-2, 1), (2, -2), (0, 2)] * len(truth))[: len(truth)]
    shifted = torch.stack([single.roll(shift, (0, 1)) for single, shift in zip(maps, shifts, strict=True)])
    shifted = shifted + 0.5 * torch.randn(maps.shape, generator=generator)
    return Measurements(maps, shifted, shifts, Occlusions(covers, falls))


def mixture(count: int, seed: int, wrong: float) -> tuple[Tensor, Tensor]:
    """Return truth and maps: a share of the maps has nothing to do with its image, the others are right."""
    its = torch.Generator().manual_seed(seed)
    truth, other = random_maps(count, its), random_maps(count, its)
    return truth, torch.where(torch.rand(count, 1, 1, generator=its) < wrong, other, truth)


def static_border(count: int, seed: int, strength: float) -> tuple[Tensor, Tensor]:
    """Return truth, and maps that are right but for a border on all of them."""
    truth = random_maps(count, torch.Generator().manual_seed(seed))
    border = torch.ones(GRID)
    border[1:-1, 1:-1] = 0
    return truth, truth + strength * (border - border.mean())


def skewed(count: int, seed: int, strength: float) -> tuple[Tensor, Tensor]:
    """Return truth and maps: most are nearly right, and few are far off."""
    its = torch.Generator().manual_seed(seed)
    truth, other = random_maps(count, its), random_maps(count, its)
    weight = strength * torch.rand(count, 1, 1, generator=its) ** 2
    return truth, truth + weight * other


Scenario = Callable[[int, int, float], tuple[Tensor, Tensor]]
SCENARIOS: dict[str, Scenario] = {"clean mixture": mixture, "static border": static_border, "skewed": skewed}
"""From a number of images, a seed and a strength, at which 0 means that all maps are right."""
_AT_LIMIT = {
    ("clean mixture", "supported"): 0.607,
    ("clean mixture", "contradicted"): 0.762,
    ("static border", "supported"): 3.47,
    ("static border", "contradicted"): 4.27,
    ("skewed", "supported"): 14.4,
    ("skewed", "contradicted"): 39.0,
}
"""Strengths at which maps just do not deserve the verdict, found by bisection with 2500 images."""


def simulated_audits(seed: int, count: int, scenarios: Collection[str] = tuple(SCENARIOS)) -> list[dict[str, Any]]:
    """Return how often each verdict is given that maps just do not deserve.

    In each audit there are three methods, whose maps differ by a little noise. It errs if any method gets the verdict
    at any look. ``at_limit`` has the true measures, from many images.
    """
    rows = []
    for (name, verdict), strength in _AT_LIMIT.items():
        if name not in scenarios:
            continue
        scenario = SCENARIOS[name]
        true = measure(measurements(*scenario(_MANY, seed + 999, strength), seed + 998)).estimates
        errors = sum(errs(scenario, strength, verdict, 10_000 * seed + number) for number in range(count))
        row = {"scenario": name, "verdict": verdict, "strength": strength, "audits": count, "errors": errors}
        at_limit = {measure: true[measure].value for measure in ("agreement", "prediction", "excess")}
        rows.append({"kind": plan.SIMULATED, "seed": seed, **row, "at_limit": at_limit})
    return rows


def errs(scenario: Scenario, strength: float, verdict: str, seed: int) -> bool:
    """Return whether any method of a simulated audit gets the verdict."""
    truth, maps = scenario(IMAGES, seed, strength)
    its = torch.Generator().manual_seed(seed + 5_000_000)
    data = measurements(truth, maps, seed + 1_000_000)
    methods = [maps, *(maps + 0.2 * random_maps(IMAGES, its) for _ in range(_METHODS - 1))]
    sizes = interim_sizes(IMAGES)
    for size, share in zip(sizes, shares_of_alpha(len(sizes)), strict=True):
        first = list(range(size))
        evidence = {
            str(number): Evidence(measure(data._replace(maps=its_maps).take(first)), {}, True, True)
            for number, its_maps in enumerate(methods)
        }
        if any(result.verdict == verdict for result in decide(evidence, ALPHA, share).values()):
            return True
    return False
