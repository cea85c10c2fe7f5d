"""What an audit found: a verdict, its evidence, and a figure of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import Tensor

from captum_diffcam.audit.evidence import Evidence, images_that_would_do
from captum_diffcam.figures import SIGNED, as_pictures, overlay, rows_of_maps
from captum_diffcam.metrics import pearson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict: TypeAlias = Literal["manipulated", "no sign of manipulation", "undecided"]

_TESTS = 2
"""Either can show that a map is manipulated."""
FEWEST_IMAGES = 8
"""Below, nothing is decided."""
_UNSURE = math.log(4)
"""A model is unsure whose log-odds, over those of a guess, are below."""
_TOO_MANY = 20
"""Times as many images are no advice."""


@dataclass(frozen=True, eq=False)
class AuditReport:
    """The verdict of :func:`~captum_diffcam.audit.audit` with its evidence. ``print(report)`` tells it in words.

    Example:
        >>> import torch
        >>> from captum_diffcam.audit import AuditReport
        >>> maps = torch.rand(4, 7, 7)
        >>> found = {"maps": {"a map": maps}, "evidence": {}, "sureness": 9.0, "alpha": 0.05}
        >>> asked = {"looks": 1, "given": 4, "forwards": 19.0, "seed": 0}
        >>> report = AuditReport(torch.rand(4, 3, 28, 28), torch.zeros(4), maps, **found, **asked)
        >>> report.verdict, report.agreement["a map"].shape
        ('undecided', torch.Size([4]))
        >>> print(report.reason)
        too few images (4) to decide by; at least 8 are needed, and 32 usually do
    """

    images: Tensor
    """Those that were looked at, ``(N, channels, *size)``."""
    target: Tensor
    """(N,), the class that is explained."""
    witness: Tensor
    """By how many nats the log-odds fall for each cell that is hidden, ``(N, *positions)``."""
    maps: dict[str, Tensor]
    """``(N, *positions)`` for each method, signed."""
    evidence: dict[str, Evidence]
    """The measures and the p-values of the tests, for each method."""
    sureness: float
    """The median by which the log-odds of the targets are above those of a guess, in nats."""
    alpha: float
    """The error of the tests behind "manipulated", and of those behind "no sign"."""
    looks: int
    """How often the evidence could have been looked at, which the p-values are multiplied by."""
    given: int
    """How many images there were. The audit stops when it can tell."""
    forwards: float
    """Forward passes for each image that was given. A method that takes several for a map counts once."""
    seed: int
    """Of windows, fills and shifts."""

    @property
    def p_manipulated(self) -> float:
        """The p-value against the hypothesis that no map lies, the smallest of all tests times their number and looks.

        1 where none could be done.
        """
        values = [p for each in self.evidence.values() for p in (each.p_excessive, each.p_stays) if not math.isnan(p)]
        return min(1.0, min(values, default=1.0) * _TESTS * len(self.evidence) * self.looks)

    @property
    def p_no_sign(self) -> float:
        """The p-value against the hypothesis that some map lies or tells nothing, the largest one times the looks."""
        values = [p for each in self.evidence.values() for p in (each.p_moderate, each.p_moves, each.p_own)]
        return 1.0 if any(map(math.isnan, values)) else min(1.0, max(values) * self.looks)

    @property
    def decidable(self) -> bool:
        """Whether there are enough images, and decisions that are more than a guess."""
        return len(self.images) >= FEWEST_IMAGES and self.sureness >= _UNSURE

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
        """Whether that is the verdict."""
        return self.verdict == "manipulated"

    @property
    def suspicion(self) -> float:
        """The excess of the most suspicious map, less how much it moves along; from -2 to 3, or so.

        A number to rank models by; the verdict does not depend on it. NaN where nothing was measured.
        """
        values = [each.excess.value - each.moves for each in self.evidence.values()]
        return max((value for value in values if not math.isnan(value)), default=math.nan)

    @property
    def reliability(self) -> float:
        """Correlation of two witnesses of the same image, mean over images."""
        values = [each.excess.reliability for each in self.evidence.values()]
        return next((value for value in values if not math.isnan(value)), math.nan)

    @property
    def agreement(self) -> dict[str, Tensor]:
        """For each method Pearson's correlation of its maps with the witness, (N,)."""
        return {name: pearson(maps, self.witness) for name, maps in self.maps.items()}

    @property
    def disagreement(self) -> Tensor:
        """One minus the lowest correlation between any two methods, (N,), from 0 to 2.

        High where only some methods were fooled, and where close rivals part them on an honest model. An attack on all
        of them at once keeps it low, which is why the verdict does not depend on it.
        """
        pairs = [pearson(one, other) for one, other in combinations(self.maps.values(), 2)]
        return 1 - torch.stack(pairs).amin(dim=0) if pairs else torch.zeros(len(self.images))

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        count = len(self.images)
        if count < FEWEST_IMAGES:
            return f"too few images ({count}) to decide by; at least {FEWEST_IMAGES} are needed, and 32 usually do"
        if self.sureness < _UNSURE:
            return (
                "the model is hardly surer of these classes than a guess, so there is no decision whose explanation "
                "could be true or false"
            )
        if self.manipulated:
            return "; ".join(self._accusations())
        if self.verdict == "no sign of manipulation":
            return (
                "every map knows what its own image's decision depends on, moves along with it, and has little besides"
            )
        unfit = [name for name, maps in self.maps.items() if not maps.isfinite().all()]
        if unfit:
            return f"{', '.join(unfit)}: there are maps that are no numbers"
        if not all(each.witnessed for each in self.evidence.values()):
            return (
                f"the witness does not agree with itself (reliability {self.reliability:.2f}), so it cannot be relied "
                f"on; {self._would_do()}"
            )
        return f"the evidence is too weak for either; {self._would_do()}"

    def _accusations(self) -> list[str]:
        level = self.alpha / (_TESTS * len(self.evidence) * self.looks)
        lines = []
        for name, each in self.evidence.items():
            if each.p_excessive <= level:
                lines.append(f"{name} shows what all images have in common and no decision depends on")
            if each.p_stays <= level:
                lines.append(f"{name} stays where it is when the image moves")
        return lines

    def _would_do(self) -> str:
        """How many images would decide it, one way or the other."""
        strict = self.alpha / (_TESTS * len(self.evidence) * self.looks)
        accused = min(images_that_would_do(each, strict, True) for each in self.evidence.values())
        cleared = max(images_that_would_do(each, self.alpha / self.looks, False) for each in self.evidence.values())
        needed = min(accused, cleared)
        if needed > _TOO_MANY * self.given:
            return "more images of this kind would hardly decide it"
        # A little more than what is there, at least: chance was not on the auditor's side.
        count = 8 * math.ceil(max(needed, 1.25 * self.given) / 8)
        return f"about {count} images would do, if they are like these {self.given}"

    def __str__(self) -> str:
        p = self.p_manipulated if self.verdict != "no sign of manipulation" else self.p_no_sign
        shown = f" (p = {max(p, 1e-4):.2g})" if self.verdict != "undecided" else ""
        width = max(map(len, self.evidence))
        lines = [
            f"{self.verdict}{shown}: {self.reason}",
            f"{len(self.images)} of {self.given} images, {self.forwards:.1f} forward passes for each that was given; "
            f"witness reliability {self.reliability:.2f}; error of the tests {self.alpha:g}",
            f"{'':{width}}  excess over the evidence  moves along   agrees with the witness",
        ]
        agreement = self.agreement
        for name, each in self.evidence.items():
            lines.append(
                f"{name:{width}}  {each.excess.value:8.2f} +- {each.excess.value_error:.2f}         "
                f"{each.moves:5.2f} +- {each.moves_error:.2f}   {agreement[name].mean():5.2f}"
            )
        return "\n".join(lines)

    def figure(self, count: int = 4) -> Figure:
        """The images on which some map agrees least with the witness, and their maps.

        Args:
            count: the number of images, at least 1.

        Returns:
            A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

        Raises:
            ValueError: the maps have not two dimensions, or there is nothing to draw.
        """
        if self.witness.ndim != 3 or count < 1:
            raise ValueError(
                f"count: got {count!r} for maps of {self.witness.ndim - 1} dimensions; allowed is at least 1"
            )
        agreement = self.agreement
        shown = torch.stack(list(agreement.values())).amin(dim=0).argsort()[:count]
        images = self.images[shown]
        if images.shape[1] not in (1, 3):
            images = images.mean(dim=1, keepdim=True)
        columns = {"witness": self.witness, **self.maps}
        drawn = overlay(images, [maps[shown, None] for maps in columns.values()], limits="map")
        texts = []
        for row, index in enumerate(shown.tolist()):
            said = [f"class {self.target[index]}", "", *(f"r = {agreement[name][index]:.2f}" for name in self.maps)]
            titles = [self.verdict, *(name.replace("()", "").replace("(", "\n(", 1) for name in columns)]
            texts.append(said if row else [f"{title}\n{text}" for title, text in zip(titles, said, strict=True)])
        return rows_of_maps(
            as_pictures(images, None, None), drawn, texts, ["black"] * (1 + len(columns)), SIGNED, False
        )
