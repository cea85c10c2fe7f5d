"""The result of an audit: the verdict, the evidence behind it, and a figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from captum_diffcam._checks import as_count
from captum_diffcam.audit.statistics import Evidence
from captum_diffcam.figures.captions import SIGNED
from captum_diffcam.figures.images import as_pictures
from captum_diffcam.figures.overlays import overlay
from captum_diffcam.figures.rows import Cell, draw_rows
from captum_diffcam.metrics import pearson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict: TypeAlias = Literal["manipulated", "no sign of manipulation", "undecided"]

MIN_IMAGES = 8
"""An audit of fewer images is undecided."""

_MIN_CONFIDENCE = math.log(4)
_TESTS_PER_METHOD = 2
"""Each of ``p_excessive`` and ``p_static`` can show that a map is manipulated."""


@dataclass(frozen=True, eq=False)
class AuditReport:
    """The verdict of :func:`~captum_diffcam.audit.audit` with its evidence. ``print(report)`` explains it.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import AuditReport
        >>> maps = torch.rand(4, 7, 7)
        >>> results = {"occlusion_maps": maps, "maps": {"a map": maps}, "evidence": {}, "confidence": 9.0}
        >>> run = {"alpha": 0.05, "interim_looks": 1, "total_images": 4, "forwards_per_image": 19.0, "seed": 0}
        >>> report = AuditReport(torch.rand(4, 3, 28, 28), torch.zeros(4), **results, **run)
        >>> report.verdict, report.agreement["a map"].shape
        ('undecided', torch.Size([4]))
        >>> print(report.reason)
        at least 8 images are needed, got 4; 32 are usually enough
    """

    images: Tensor
    """The images that were used, ``(N, channels, *size)``."""
    target: Tensor
    """The class that is explained, (N,)."""
    occlusion_maps: Tensor
    """How many nats the log-odds fall for each cell that is hidden, ``(N, *positions)``."""
    maps: dict[str, Tensor]
    """The signed maps of each method, ``(N, *positions)``."""
    evidence: dict[str, Evidence]
    """The test results of each method."""
    confidence: float
    """The median over images of the log-odds of the target, minus those of a guess, in nats."""
    alpha: float
    """The significance level of either verdict."""
    interim_looks: int
    """The largest number of times that the evidence could be tested. P-values are multiplied by it (Bonferroni)."""
    total_images: int
    """The number of images that the audit received. It stops before it has used all of them if it can decide."""
    forwards_per_image: float
    """Forward passes per received image. A method counts as one per map, even if it needs several."""
    seed: int
    """The seed of windows, fills and shifts."""

    @property
    def p_manipulated(self) -> float:
        """The p-value of "manipulated": the smallest of all methods, corrected for methods, tests and interim looks.

        It is 1 if no test was possible.
        """
        p_values = [
            p for item in self.evidence.values() for p in (item.p_excessive, item.p_static) if not math.isnan(p)
        ]
        return min(1.0, min(p_values) * self._comparisons) if p_values else 1.0

    @property
    def p_no_sign(self) -> float:
        """The p-value of "no sign of manipulation": the largest of all methods, corrected for interim looks.

        It is 1 if a test was not possible.
        """
        p_values = [
            p for item in self.evidence.values() for p in (item.p_not_excessive, item.p_equivariant, item.p_own_image)
        ]
        if not p_values or any(map(math.isnan, p_values)):
            return 1.0
        return min(1.0, max(p_values) * self.interim_looks)

    @property
    def _comparisons(self) -> int:
        return _TESTS_PER_METHOD * len(self.evidence) * self.interim_looks

    @property
    def decidable(self) -> bool:
        """Whether there are at least 8 images and the confidence is at least log 4."""
        return len(self.images) >= MIN_IMAGES and self.confidence >= _MIN_CONFIDENCE

    @property
    def verdict(self) -> Verdict:
        """``"manipulated"``, ``"no sign of manipulation"`` or ``"undecided"``."""
        if not self.decidable:
            return "undecided"
        if self.p_manipulated <= self.alpha:
            return "manipulated"
        return "no sign of manipulation" if self.p_no_sign <= self.alpha else "undecided"

    @property
    def manipulated(self) -> bool:
        """Whether the verdict is "manipulated"."""
        return self.verdict == "manipulated"

    @property
    def suspicion(self) -> float:
        """The largest excess minus equivariance of any method, from about -2 to 3; NaN if nothing was measured.

        It ranks models. The verdict does not depend on it.
        """
        differences = [item.excess.value - item.equivariance for item in self.evidence.values()]
        return max((value for value in differences if not math.isnan(value)), default=math.nan)

    @property
    def reliability(self) -> float:
        """Correlation of two occlusion maps of the same image, mean over images; NaN if it was not measured."""
        values = [item.excess.reliability for item in self.evidence.values()]
        return next((value for value in values if not math.isnan(value)), math.nan)

    @property
    def agreement(self) -> dict[str, Tensor]:
        """Pearson's correlation of each method's maps with the occlusion maps, (N,)."""
        return {name: pearson(maps, self.occlusion_maps) for name, maps in self.maps.items()}

    @property
    def disagreement(self) -> Tensor:
        """One minus the lowest correlation between the maps of any two methods, (N,), from 0 to 2.

        It is high if an attack fooled only some methods, but also if a clean model has close rivals. It is low if an
        attack fooled all methods. The verdict therefore does not depend on it.
        """
        pairs = [pearson(first, second) for first, second in combinations(self.maps.values(), 2)]
        return 1 - torch.stack(pairs).amin(dim=0) if pairs else torch.zeros(len(self.images))

    @property
    def reason(self) -> str:
        """The reason for the verdict, in a sentence."""
        count = len(self.images)
        if count < MIN_IMAGES:
            return f"at least {MIN_IMAGES} images are needed, got {count}; 32 are usually enough"
        if self.confidence < _MIN_CONFIDENCE:
            return "the model's predictions are hardly more confident than a guess, so there is nothing to explain"
        if self.verdict == "manipulated":
            return "; ".join(self._accusations())
        if self.verdict == "no sign of manipulation":
            return "every map agrees with the occlusion map of its own image, moves with its image and has a low excess"
        not_finite = [name for name, maps in self.maps.items() if not maps.isfinite().all()]
        if not_finite:
            return f"the maps of {', '.join(not_finite)} are not finite"
        if not all(item.occlusion_is_reliable for item in self.evidence.values()):
            return (
                f"the occlusion maps are not reliable (correlation of two maps of an image: {self.reliability:.2f}); "
                "more images may help"
            )
        return "the evidence is too weak for either verdict; more images may help"

    def _accusations(self) -> list[str]:
        level = self.alpha / self._comparisons
        sentences = []
        for name, item in self.evidence.items():
            if item.p_excessive <= level:
                sentences.append(f"{name} shows a pattern on all images that predictions do not depend on")
            if item.p_static <= level:
                sentences.append(f"{name} does not move when the image is shifted")
        return sentences

    def __str__(self) -> str:
        p = self.p_no_sign if self.verdict == "no sign of manipulation" else self.p_manipulated
        p_text = f" (p = {max(p, 1e-4):.2g})" if self.verdict != "undecided" else ""
        lines = [
            f"{self.verdict}{p_text}: {self.reason}",
            f"{len(self.images)} of {self.total_images} images used, {self.forwards_per_image:.1f} forward passes per "
            f"image; significance level {self.alpha:g}",
        ]
        if not self.evidence:
            return "\n".join(lines)
        width = max(map(len, self.evidence))
        lines[1] += f", reliability of the occlusion maps {self.reliability:.2f}"
        lines.append(f"{'':{width}}  excess (+- error)  equivariance (+- error)  agreement with occlusion")
        agreement = self.agreement
        for name, item in self.evidence.items():
            lines.append(
                f"{name:{width}}  {item.excess.value:8.2f} +- {item.excess.value_error:.2f}  "
                f"{item.equivariance:14.2f} +- {item.equivariance_error:.2f}  {agreement[name].mean():23.2f}"
            )
        return "\n".join(lines)

    def figure(self, count: int = 4) -> Figure:
        """Draw the images whose maps agree least with the occlusion map, with all their maps.

        Args:
            count: the number of images, at least 1.

        Returns:
            A :class:`matplotlib.figure.Figure`.

        Raises:
            ValueError: ``count`` is below 1, there are no maps, or the maps do not have two dimensions.
        """
        as_count("count", count)
        if not self.maps or self.occlusion_maps.ndim != 3:
            dimensions = self.occlusion_maps.ndim - 1
            raise ValueError(f"`maps` must have two dimensions to be drawn, got {len(self.maps)} of {dimensions}.")
        agreement = self.agreement
        worst = torch.stack(list(agreement.values())).amin(dim=0).argsort()[:count]
        images = self.images[worst]
        if images.shape[1] not in (1, 3):
            images = images.mean(dim=1, keepdim=True)
        columns = {"occlusion": self.occlusion_maps, **self.maps}
        drawn = overlay(images, [maps[worst, None] for maps in columns.values()], limits="map")
        titles = [self.verdict, *(name.replace("()", "").replace("(", "\n(", 1) for name in columns)]
        rows = []
        for i, (index, picture) in enumerate(zip(worst.tolist(), as_pictures(images), strict=True)):
            captions = [
                f"class {self.target[index]}",
                "",
                *(f"r = {values[index]:.2f}" for values in agreement.values()),
            ]
            if i == 0:
                captions = [f"{title}\n{caption}" for title, caption in zip(titles, captions, strict=True)]
            cells = zip((picture.rgb, *drawn[i]), captions, strict=True)
            rows.append([Cell(image, caption) for image, caption in cells])
        return draw_rows(rows, SIGNED)
