"""How an audit asks: images are added, and of each the maps, the maps of its shifted copy, and two witnesses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module

from captum_diffcam.audit.evidence import evaluate_method
from captum_diffcam.audit.portions import Portions
from captum_diffcam.audit.report import FEWEST_IMAGES, AuditReport
from captum_diffcam.audit.tilings import tiled_witness
from captum_diffcam.equivariant import shift_images
from captum_diffcam.logits import as_logits, resolve_target
from captum_diffcam.methods import CamMethod, by_forward, maps_of_group
from captum_diffcam.score import explained_score

_FEWEST_CELLS = 4
"""Positions over which a correlation says something."""
_REACH = 2
"""By how many cells an image is shifted along at least one dimension."""


def interim_sizes(count: int) -> list[int]:
    """After how many images the evidence is looked at: after 8, 16, 32 and so on, and after all.

    Example:
        >>> from captum_diffcam.audit.inquiry import interim_sizes
        >>> interim_sizes(32), interim_sizes(40), interim_sizes(5)
        ([8, 16, 32], [8, 16, 40], [5])
    """
    looks = []
    look = FEWEST_IMAGES
    # No look shortly before the last.
    while look <= count // 2:
        looks.append(look)
        look *= 2
    return [*looks, count]


class AuditData:
    """What was found of the first images, all of it on the CPU."""

    def __init__(
        self,
        model: Module,
        layer: Module,
        images: Tensor,
        methods: Sequence[CamMethod],
        fills: Sequence[str],
        seed: int,
        in_portions: Portions,
    ) -> None:
        self.model, self.layer, self.images, self.methods = model, layer, images, methods
        self.fills, self.seed, self.portions = fills, seed, in_portions
        self.generator = torch.Generator().manual_seed(seed)
        self.done = 0
        self.maps: dict[str, list[Tensor]] = {str(method): [] for method in methods}
        self.moved: dict[str, list[Tensor]] = {str(method): [] for method in methods}
        self.witnesses: list[Tensor] = []
        self.shifts: list[tuple[int, ...]] = []

    def decide(self, target: Any) -> None:
        """The classes to explain, and how sure the model is of them."""
        nothing = torch.zeros(len(self.images))
        logits = self.portions.run(lambda batch, _: self._logits(batch), self.images, nothing)
        if logits.ndim != 2:
            raise ValueError(f"model: returned {tuple(logits.shape)} for {len(self.images)} images; allowed is (N, C)")
        wanted = logits.argmax(dim=1).tolist() if target is None else target
        if isinstance(wanted, Tensor):
            wanted = wanted.cpu()
        _, self.classes = resolve_target(logits, list(wanted) if isinstance(wanted, Sequence) else wanted)
        self.whole = explained_score(logits, self.classes, None, "logsumexp").float()
        self.outputs = logits.shape[1]

    def add(self, count: int) -> None:
        """Maps, maps of shifted images and witnesses of all images up to that number."""
        fresh = slice(self.done, count)
        images, classes = self.images[fresh], self.classes[fresh]
        self._add_maps(self.maps, images, classes)
        grids = {name: tuple(maps[-1].shape[1:]) for name, maps in self.maps.items()}
        if len(set(grids.values())) > 1:
            raise ValueError(f"methods: have positions {grids}; allowed are methods with the same")
        grid = next(iter(grids.values()))
        if math.prod(grid) < _FEWEST_CELLS:
            raise ValueError(f"layer: has {math.prod(grid)} positions; allowed are at least {_FEWEST_CELLS}")
        if len(grid) != images.ndim - 2:
            size = tuple(images.shape[2:])
            raise ValueError(f"layer: has positions {grid} for images of {size}; allowed are as many dimensions")
        shifts = [draw_shift(grid, self.generator) for _ in images]
        shifted = [shift_images(image[None], shift, grid) for image, shift in zip(images, shifts, strict=True)]
        self._add_maps(self.moved, torch.cat(shifted), classes)
        self.witnesses.append(torch.stack([self._witness(fresh, grid) for _ in range(2)]))
        self.shifts += shifts
        self.done = count

    def double_windows(self) -> None:
        """As many windows again for every image, so that a witness is a mean of twice as many tilings."""
        known = torch.cat(self.witnesses, dim=1)
        grid = known.shape[2:]
        more = torch.stack([self._witness(slice(0, self.done), grid) for _ in range(2)])
        self.witnesses = [(known + more) / 2]

    def report(self, alpha: float, looks: int) -> AuditReport:
        """What is known by now."""
        maps = {name: torch.cat(parts) for name, parts in self.maps.items()}
        witnesses = torch.cat(self.witnesses, dim=1)
        generator = torch.Generator().manual_seed(self.seed)
        return AuditReport(
            images=self.images[: self.done],
            target=self.classes[: self.done],
            witness=witnesses.mean(dim=0),
            maps=maps,
            evidence={
                name: evaluate_method(each, torch.cat(self.moved[name]), witnesses, self.shifts, generator)
                for name, each in maps.items()
            },
            sureness=(self.whole[: self.done] + math.log(max(self.outputs - 1, 1))).median().item(),
            alpha=alpha,
            looks=looks,
            given=len(self.images),
            forwards=self.portions.forwards / len(self.images),
            seed=self.seed,
        )

    def _add_maps(self, to: dict[str, list[Tensor]], images: Tensor, classes: Tensor) -> None:
        for group in by_forward(self.methods):
            maps_of = partial(maps_of_group, group, self.model, self.layer)
            maps = self.portions.run(maps_of, images, classes).unbind(dim=1)
            for method, each in zip(group, maps, strict=True):
                to[str(method)].append(each)

    def _witness(self, fresh: slice, grid: Sequence[int]) -> Tensor:
        classes = self.classes[fresh]

        def score(hidden: Tensor, numbers: Tensor) -> Tensor:
            return self.portions.run(
                lambda x, of: explained_score(self._logits(x), of, None, "logsumexp"), hidden, classes[numbers]
            )

        images, whole = self.images[fresh], self.whole[fresh]
        return tiled_witness(score, images, grid, self.generator, whole=whole, others=self.images, fills=self.fills)

    def _logits(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return as_logits(self.model(images))


def draw_shift(grid: Sequence[int], generator: torch.Generator) -> tuple[int, ...]:
    """By up to two cells, and along one dimension by as many as allowed, which is less than half of the cells."""
    reach = [min(_REACH, (cells - 1) // 2) for cells in grid]
    while True:
        shift = tuple(int(torch.randint(-n, n + 1, (1,), generator=generator)) for n in reach)
        if max(map(abs, shift)) == max(reach):
            return shift
