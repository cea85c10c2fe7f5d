"""The result of an audit: a verdict about each method's maps, what was measured, and a page to look at."""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from scipy import stats
from torch import Tensor

from captum_diffcam._checks import as_count
from captum_diffcam.audit.statistics import Estimate, Measures
from captum_diffcam.figures.captions import SIGNED
from captum_diffcam.figures.images import as_pictures
from captum_diffcam.figures.overlays import overlay
from captum_diffcam.figures.rows import Cell, draw_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict: TypeAlias = Literal["supported", "contradicted", "undecided"]

# The limits were set on classifiers of Fashion-MNIST in 28 x 28 pixels of seeds 100 and 101, clean and manipulated by
# hand. No published figure is of these.
GOOD_AGREEMENT = 0.4
"""Maps are contradicted only if their agreement is shown to be below this."""
LOW_AGREEMENT = 0.2
"""Maps are supported only if their agreement is shown to be above this."""
LOW_PREDICTION = 0.2
"""Maps whose prediction is shown to be below this do not show what predictions depend on."""
GOOD_PREDICTION = 0.4
"""Maps are supported only if their prediction is shown to be above this."""
HIGH_PREDICTION = 0.6
"""Maps whose prediction is shown to be above this need no low excess and deficit, nor equivariance."""
EXCESS_LIMIT = 0.35
"""The highest excess of maps that show what predictions depend on."""
DEFICIT_LIMIT = 0.5
"""The highest deficit of such maps."""
GAIN_LIMIT = 0.12
"""The highest gain from a shift of maps that are in register."""
STATIC_LIMIT = -0.25
"""Maps are supported only if their equivariance is shown to be above this. If predictions depend on the same cells of
all images, such as those in the middle, maps of a clean model hardly move either."""
MIN_RELIABILITY = 0.2
"""There is no verdict unless the reliability of the occlusion maps is shown to be above this."""
MIN_IMAGES = 16
"""The fewest images of an audit, and the number at its first interim look."""
MIN_CLASS_IMAGES = 4
"""The fewest images from which the agreement of a class is estimated."""
MIN_CONFIDENCE = math.log(4)
"""The lowest median of the log-odds above those of a guess at which there is something to explain."""
LARGEST_CLASS = 0.75
"""If more of the images are of one class, maps that stay where they are contradict nothing."""
_CAUSES = 4


@dataclass(frozen=True, eq=False)
class MethodResult:
    """What was measured of one method's maps, and the verdict about them."""

    measures: Measures | None
    """The measures with their standard errors; None if the maps are not finite."""
    by_class: dict[int, Estimate]
    """The agreement of each class with at least four images."""
    alpha: float
    """The significance level."""
    comparisons: int
    """The number of methods and interim looks, by which p-values are multiplied."""
    several_classes: bool
    """Whether the images are not mostly of one class."""
    decidable: bool
    """Whether the model is confident enough to have something to explain."""

    @property
    def verdict(self) -> Verdict:
        """``"supported"``, ``"contradicted"`` or ``"undecided"``."""
        if not self.decidable or not self.reliable:
            return "undecided"
        if self.p_contradicted <= self.alpha:
            return "contradicted"
        return "supported" if self.p_supported <= self.alpha and not self.disagreeing_classes else "undecided"

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The measures by name."""
        return {} if self.measures is None else self.measures.estimates

    @property
    def reliable(self) -> bool:
        """Whether occlusion maps agree with themselves, so that maps can be compared with them."""
        return self.measures is not None and self.measures.reliability.p_above(MIN_RELIABILITY) <= self.alpha

    @property
    def p_good(self) -> dict[str, float]:
        """The p-value of "as it is for maps that show what predictions depend on", for each measure. Not corrected."""
        m = self.measures
        if m is None:
            return {}
        return {
            "agreement": m.agreement.p_above(LOW_AGREEMENT),
            "prediction": m.prediction.p_above(GOOD_PREDICTION),
            "registration": max(gain.p_below(GAIN_LIMIT) for gain in m.gains.values()),
            "excess": m.excess.p_below(EXCESS_LIMIT),
            "deficit": m.deficit.p_below(DEFICIT_LIMIT),
            "equivariance": 1.0 if math.isnan(m.equivariance.value) else m.equivariance.p_above(STATIC_LIMIT),
        }

    @property
    def p_bad(self) -> dict[str, float]:
        """The p-value of each cause of a contradiction. Not corrected, except for the number of shifts."""
        m = self.measures
        if m is None:
            return {}
        static = self.several_classes and not math.isnan(m.equivariance.value)
        return {
            "prediction": m.prediction.p_below(LOW_PREDICTION),
            "registration": min(1.0, len(m.gains) * min(gain.p_above(GAIN_LIMIT) for gain in m.gains.values())),
            "excess": m.excess.p_above(EXCESS_LIMIT),
            "equivariance": m.equivariance.p_below(0) if static else 1.0,
        }

    @property
    def p_supported(self) -> float:
        """The p-value of "supported", corrected for methods and interim looks.

        It is the largest p-value of all measures. If the prediction is shown to be above 0.6, excess, deficit and
        equivariance do not count.
        """
        if self.measures is None:
            return 1.0
        p = self.p_good
        always = max(p[name] for name in ("agreement", "prediction", "registration"))
        usually = max(p[name] for name in ("excess", "deficit", "equivariance"))
        either = min(usually, self.measures.prediction.p_above(HIGH_PREDICTION))
        return min(1.0, self.comparisons * max(always, either))

    @property
    def p_contradicted(self) -> float:
        """The p-value of "contradicted", corrected for causes, methods and interim looks.

        The agreement must be shown to be below 0.4, and one of four causes as well.
        """
        if self.measures is None:
            return 1.0
        cause = _CAUSES * min(self.p_bad.values())
        return min(1.0, self.comparisons * max(self.measures.agreement.p_below(GOOD_AGREEMENT), cause))

    @property
    def scope(self) -> list[int]:
        """The classes whose own images show an agreement above 0.2."""
        return [number for number, its in self.by_class.items() if its.p_above(LOW_AGREEMENT) <= self.alpha]

    @property
    def disagreeing_classes(self) -> list[int]:
        """The classes whose own images show an agreement below 0.2, although there may be few of them."""
        level = self.alpha / max(len(self.by_class), 1)
        return [number for number, its in self.by_class.items() if its.p_below(LOW_AGREEMENT) <= level]

    @property
    def unnoticed_share(self) -> float:
        """The largest share of images like these that could disagree with occlusion: an upper 95 % bound.

        An image disagrees if its agreement is not above zero (C. Clopper, E. Pearson, 1934).
        """
        if self.measures is None:
            return 1.0
        disagreeing = int((self.measures.agreement_of_images <= 0).sum())
        agreeing = len(self.measures.agreement_of_images) - disagreeing
        return float(stats.beta.ppf(0.95, disagreeing + 1, agreeing)) if agreeing else 1.0

    @property
    def causes(self) -> list[str]:
        """What contradicts the maps, in words."""
        if self.measures is None or self.verdict != "contradicted":
            return []
        shift = self.measures.best_shift
        words = {
            "prediction": "they do not predict how far the log-odds fall when parts of the image are hidden",
            "registration": f"they agree with occlusion better when shifted by {shift} cells",
            "excess": "they have a pattern in common that predictions do not depend on",
            "equivariance": "they do not move when the image is shifted",
        }
        level = self.alpha / (_CAUSES * self.comparisons)
        return [words[name] for name, p in self.p_bad.items() if p <= level]

    @property
    def reason(self) -> str:
        """The reason for the verdict."""
        if self.measures is None:
            return "maps are not finite"
        if not self.decidable:
            return "predictions are hardly more confident than a guess, so there is nothing to explain"
        if not self.reliable:
            return "the occlusion maps do not agree with themselves"
        if self.verdict == "contradicted":
            return "; ".join(self.causes)
        if self.verdict == "supported":
            return "they show what predictions depend on"
        if self.p_supported <= self.alpha:
            return f"maps of classes {self.disagreeing_classes} disagree with occlusion"
        p = self.p_good
        return f"not shown: {', '.join(name for name in p if self.comparisons * p[name] > self.alpha)}"


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What :func:`~captum_diffcam.audit.audit` found about each method's maps. ``print(report)`` explains it."""

    by_method: dict[str, MethodResult]
    """The verdict about each method's maps, with estimates, standard errors and p-values."""
    images: Tensor
    """The images that were used, ``(N, channels, *size)``, in random order."""
    indices: Tensor
    """Their numbers in what the audit received, (N,)."""
    target: Tensor
    """The class that is explained, (N,)."""
    occlusion_maps: Tensor
    """How many nats the log-odds fall for each cell that is hidden, ``(N, *positions)``."""
    maps: dict[str, Tensor]
    """The signed maps of each method, ``(N, *positions)``."""
    alpha: float
    """The significance level."""
    interim_looks: int
    """The largest number of times that the evidence could be tested."""
    total_images: int
    """The number of images that the audit received."""
    forward_passes: float
    """The time of the audit, in forward passes of the images that were used; gradients and shifts are included."""
    seed: int
    """The seed of order, windows, fills and shifts."""
    class_names: Sequence[str] | None = None
    gradients_vary: bool = False
    """Whether gradients differ between positions, as behind a flattening. HiResCAM weights each position by its own."""
    notes: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """``"supported"`` or ``"contradicted"`` if every method is, ``"undecided"`` if no method is either.

        Otherwise ``"mixed"``.
        """
        verdicts = {result.verdict for result in self.by_method.values()}
        return verdicts.pop() if len(verdicts) == 1 else "mixed"

    @property
    def supported(self) -> list[str]:
        """The methods whose maps may be used."""
        return [name for name, result in self.by_method.items() if result.verdict == "supported"]

    @property
    def suspicion(self) -> float:
        """The largest excess minus equivariance of any method, from about -2 to 3. It ranks models."""
        measures = [result.measures for result in self.by_method.values() if result.measures]
        values = [m.excess.value - m.equivariance.value for m in measures]
        return max((value for value in values if not math.isnan(value)), default=math.nan)

    @property
    def agreement(self) -> dict[str, Tensor]:
        """The agreement of each image's map with its occlusion map, corrected for noise, (N,)."""
        return {name: its.measures.agreement_of_images for name, its in self.by_method.items() if its.measures}

    @property
    def advice(self) -> list[str]:
        """What to do about it, a sentence each."""
        verdicts = {name: result.verdict for name, result in self.by_method.items()}
        sentences = []
        if self.supported:
            sentences.append(f"Maps that may be used, for images like these: {', '.join(self.supported)}.")
        else:
            sentences.append("No method's maps are shown to be right.")
        contradicted = [name for name, verdict in verdicts.items() if verdict == "contradicted"]
        if contradicted and self.gradients_vary:
            sentences.append(
                "Gradients differ between positions, as behind a flattening, where averaging them is wrong: use "
                "LayerDiffHiResCam."
            )
        elif contradicted and any(result.verdict == "supported" for result in self.by_method.values()):
            sentences.append("Some maps agree where others do not: a term common to all logits may be the cause.")
        if any("better when shifted" in cause for name in contradicted for cause in self.by_method[name].causes):
            sentences.append("Positions of the layer are not those of the image: check its layout and what follows it.")
        return [*sentences, *self.notes]

    @property
    def scope_text(self) -> str:
        """Which images the verdicts are about, and what could be unnoticed."""
        counts = Counter(self.target.tolist())
        classes = ", ".join(f"{self._class_name(number)} ({count})" for number, count in counts.most_common(12))
        more = f" and {len(counts) - 12} more" if len(counts) > 12 else ""
        sentences = [f"Classes (images): {classes}{more}."]
        for name in self.supported:
            result = self.by_method[name]
            own = [self._class_name(number) for number in result.scope]
            alone = (
                f"shown for these classes by themselves: {', '.join(own)}" if own else "shown for no class by itself"
            )
            sentences.append(f"{name}: {alone}; up to {result.unnoticed_share:.0%} of such images may disagree.")
        return " ".join(sentences)

    def _class_name(self, number: int) -> str:
        return str(number) if self.class_names is None else str(self.class_names[number])

    def __repr__(self) -> str:
        verdicts = "; ".join(f"{name} {result.verdict}" for name, result in self.by_method.items())
        used = f"{len(self.images)} of {self.total_images} images, {self.forward_passes:.0f} forward passes"
        return f"AuditReport: {self.verdict} ({used})\n{verdicts}\n{self.advice[0]}"

    def __str__(self) -> str:
        lines = [
            f"{self.verdict}: {' '.join(self.advice)}",
            f"{len(self.images)} of {self.total_images} images used; the time of {self.forward_passes:.0f} forward "
            f"passes of each; significance level {self.alpha:g}.",
            self.scope_text,
        ]
        width = max(map(len, self.by_method))
        names = ["agreement", "prediction", "slope", "excess", "deficit", "registration", "equivariance"]
        lines.append(f"{'':{width}}  {'verdict':12}  {'  '.join(f'{name:>13}' for name in names)}")
        for name, result in self.by_method.items():
            numbers = [
                f"{its.value:5.2f} +- {its.error:4.2f}"
                for key in names
                if (its := result.estimates.get(key)) is not None
            ]
            lines.append(f"{name:{width}}  {result.verdict:12}  {'  '.join(f'{text:>13}' for text in numbers)}")
        lines += [f"{name}: {result.reason}." for name, result in self.by_method.items()]
        return "\n".join(lines)

    def figure(self, which: Literal["worst", "typical"] = "worst", count: int = 4) -> Figure:
        """Draw images with all their maps.

        Args:
            which: ``"worst"``, those whose maps agree least with the occlusion map, or ``"typical"``, those whose
                agreement is nearest to the median.
            count: the number of images, at least 1.

        Returns:
            A :class:`matplotlib.figure.Figure`.

        Raises:
            TypeError, ValueError: ``which`` or ``count`` is not as described, or the maps do not have two dimensions.
        """
        if which not in ("worst", "typical"):
            raise ValueError(f"`which` must be 'worst' or 'typical', got {which!r}.")
        as_count("count", count)
        if not self.maps or self.occlusion_maps.ndim != 3:
            dimensions = self.occlusion_maps.ndim - 1
            raise ValueError(f"`maps` must have two dimensions to be drawn, got {len(self.maps)} of {dimensions}.")
        agreement = self.agreement
        lowest = torch.stack(list(agreement.values())).amin(dim=0) if agreement else torch.zeros(len(self.images))
        order = lowest.argsort() if which == "worst" else (lowest - lowest.median()).abs().argsort()
        chosen = order[:count]
        images = self.images[chosen]
        if images.shape[1] not in (1, 3):
            images = images.mean(dim=1, keepdim=True)
        columns = {"occlusion": self.occlusion_maps, **self.maps}
        drawn = overlay(images, [maps[chosen, None] for maps in columns.values()], limits="map")
        titles = [f"{which} images", *(name.replace("()", "").replace("(", "\n(", 1) for name in columns)]
        rows = []
        for i, (index, picture) in enumerate(zip(chosen.tolist(), as_pictures(images), strict=True)):
            captions = [
                self._class_name(int(self.target[index])),
                "",
                *(f"r = {agreement[name][index]:.2f}" if name in agreement else "" for name in self.maps),
            ]
            if i == 0:
                captions = [f"{title}\n{caption}" for title, caption in zip(titles, captions, strict=True)]
            cells = zip((picture.rgb, *drawn[i]), captions, strict=True)
            rows.append([Cell(image, caption) for image, caption in cells])
        return draw_rows(rows, SIGNED)

    def as_dict(self) -> dict[str, Any]:
        """Return verdicts and numbers as JSON can hold them."""
        return {
            "verdict": self.verdict,
            "advice": self.advice,
            "scope": self.scope_text,
            "alpha": self.alpha,
            "seed": self.seed,
            "images": len(self.images),
            "total_images": self.total_images,
            "interim_looks": self.interim_looks,
            "forward_passes": _json_number(self.forward_passes),
            "methods": {
                name: {
                    "verdict": its.verdict,
                    "reason": its.reason,
                    "p_supported": its.p_supported,
                    "p_contradicted": its.p_contradicted,
                    "estimates": {
                        key: {"value": _json_number(value.value), "error": _json_number(value.error)}
                        for key, value in its.estimates.items()
                    },
                    "p_good": its.p_good,
                    "p_bad": its.p_bad,
                    "classes": {
                        self._class_name(number): {"agreement": value.value, "error": value.error}
                        for number, value in its.by_class.items()
                    },
                    "scope": [self._class_name(number) for number in its.scope],
                    "unnoticed_share": its.unnoticed_share,
                }
                for name, its in self.by_method.items()
            },
        }

    def save(self, folder: str | Path) -> Path:
        """Write ``audit.json`` and the page ``audit.html``, which shows typical and worst images side by side.

        Args:
            folder: it is made if it does not exist. Files of the same names are replaced.

        Returns:
            The page.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "audit.json").write_text(json.dumps(self.as_dict(), indent=1) + "\n", encoding="utf-8")
        pictures = ""
        if self.maps and self.occlusion_maps.ndim == 3:
            pictures = "".join(
                f"<figure><figcaption>{caption}</figcaption><img alt='{which} images with their maps' "
                f"src='data:image/png;base64,{_png(self.figure(which))}'></figure>"
                for which, caption in _PICTURES.items()
            )
        page = folder / "audit.html"
        page.write_text(_PAGE.format(text=html.escape(str(self)), pictures=pictures), encoding="utf-8")
        return page


_PICTURES: dict[Literal["typical", "worst"], str] = {
    "typical": "Typical: agreement near the median",
    "worst": "Worst: lowest agreement",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Audit of class activation maps</title>
<style>body {{font-family: sans-serif; margin: 2em}} pre {{white-space: pre-wrap}} .pictures {{display: flex; gap: 1em;
flex-wrap: wrap}} figure {{margin: 0; flex: 1 1 30em}} img {{max-width: 100%}}</style>
<h1>Do these maps show what predictions depend on?</h1>
<pre>{text}</pre>
<div class="pictures">{pictures}</div>
</html>
"""


def _png(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return base64.b64encode(stream.getvalue()).decode()


def _json_number(value: float) -> float | None:
    """Return the number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
