"""The result of an audit: a verdict about each method's maps, what was measured, and a page to look at."""

from __future__ import annotations

import base64
import io
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from scipy import stats
from torch import Tensor

from captum_diffcam._checks import as_count
from captum_diffcam.audit.statistics import Estimate, Measures, hochberg
from captum_diffcam.figures.captions import SIGNED
from captum_diffcam.figures.images import as_pictures
from captum_diffcam.figures.overlays import overlay
from captum_diffcam.figures.rows import Cell, draw_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict: TypeAlias = Literal["supported", "contradicted", "undecided"]

# The limits, and the number and size of windows, were set on classifiers of Fashion-MNIST in 28 x 28 pixels of seeds
# 100 and 101, clean and manipulated. No published figure is of these.
GOOD_AGREEMENT = 0.4
"""Maps are contradicted only if their agreement is shown to be below this."""
LOW_AGREEMENT = 0.2
"""Maps are supported only if their agreement is shown to be above this."""
LOW_PREDICTION = 0.25
"""Maps whose prediction is shown to be below this do not show what predictions depend on."""
GOOD_PREDICTION = 0.4
"""Maps are supported only if their prediction is shown to be above this."""
HIGH_PREDICTION = 0.6
"""Maps whose prediction is shown to be above this need no low excess and deficit, nor equivariance."""
EXCESS_LIMIT = 0.3
"""The highest excess of maps that show what predictions depend on."""
DEFICIT_LIMIT = 0.5
"""The highest deficit of such maps."""
GAIN_LIMIT = 0.12
"""The highest gain from a shift of maps that are in register."""
REGISTRATION_LEVEL = 0.3
"""Maps are supported only if no shift is better than none at this level, which is high because a shift by one cell
gains little: often less than is significant with 32 images."""
STATIC_LIMIT = -0.25
"""Maps are supported only if their equivariance is shown to be above this. If predictions depend on the same cells of
all images, such as those in the middle, maps of a clean model hardly move either."""
MIN_RELIABILITY = 0.15
"""There is no verdict unless the reliability of the occlusion maps is shown to be above this."""
MIN_IMAGES = 16
"""The fewest images of an audit, and the number at its first interim look."""
MIN_CLASS_IMAGES = 4
"""The fewest images from which the agreement of a class is estimated."""
MIN_CONFIDENCE = math.log(4)
"""The lowest median of the log-odds above those of a guess at which there is something to explain."""
LARGEST_CLASS = 0.75
"""If more of the images are of one class, maps that stay where they are contradict nothing."""
LIMITS = {
    "agreement": f"above {LOW_AGREEMENT}",
    "prediction": f"above {GOOD_PREDICTION}",
    "registration": f"below {GAIN_LIMIT}, with no shift that looks better",
    "excess": f"below {EXCESS_LIMIT}",
    "deficit": f"below {DEFICIT_LIMIT}",
    "equivariance": f"above {STATIC_LIMIT}",
}
"""What must be shown of each measure for support, in words."""
CAUSE_FACTORS = {"excess": 2, "prediction": 6, "registration": 6, "equivariance": 6}
"""What the p-values of the causes of a contradiction are multiplied by. One over these sums to one, so the level holds
for all causes together. A pattern that is common to all maps gets half of it, because most attacks make one."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What was measured of one method's maps, and how well it shows that they are right or wrong."""

    measures: Measures | None
    """The measures with their standard errors; None if the maps are not finite."""
    by_class: dict[int, Estimate]
    """The agreement of each class with at least four images."""
    several_classes: bool
    """Whether the images are not mostly of one class."""
    decidable: bool
    """Whether the model is confident enough to have something to explain."""

    @property
    def p_good(self) -> dict[str, float]:
        """The p-value of "as it is for maps that show what predictions depend on", for each measure. Not corrected."""
        m = self.measures
        if m is None:
            return {}
        in_register = all(its.p_above(0) > REGISTRATION_LEVEL for its in m.gains.values())
        return {
            "agreement": m.agreement.p_above(LOW_AGREEMENT),
            "prediction": m.prediction.p_above(GOOD_PREDICTION),
            "registration": max((its.p_below(GAIN_LIMIT) for its in m.gains.values()), default=1.0)
            if in_register
            else 1.0,
            "excess": m.excess.p_below(EXCESS_LIMIT),
            "deficit": m.deficit.p_below(DEFICIT_LIMIT),
            "equivariance": 1.0 if math.isnan(m.equivariance.value) else m.equivariance.p_above(STATIC_LIMIT),
        }

    @property
    def p_bad(self) -> dict[str, float]:
        """The p-value of each cause of a contradiction, corrected for the number of causes and shifts only."""
        m = self.measures
        if m is None:
            return {}
        static = self.several_classes and not math.isnan(m.equivariance.value)
        shifted = min((its.p_above(GAIN_LIMIT) for its in m.gains.values()), default=1.0)
        p_values = {
            "prediction": m.prediction.p_below(LOW_PREDICTION),
            "registration": len(m.gains) * shifted,
            "excess": m.excess.p_above(EXCESS_LIMIT),
            "equivariance": m.equivariance.p_below(0) if static else 1.0,
        }
        return {name: min(1.0, CAUSE_FACTORS[name] * p) for name, p in p_values.items()}

    @property
    def p_right(self) -> float:
        """The p-value of "these maps are right": the largest of all measures. Not corrected for methods and looks.

        If the prediction is shown to be above 0.6, excess, deficit and equivariance do not count.
        """
        if self.measures is None:
            return 1.0
        p = self.p_good
        always = max(p[name] for name in ("agreement", "prediction", "registration"))
        usually = max(p[name] for name in ("excess", "deficit", "equivariance"))
        # Twice, because there are two ways to be right.
        return max(always, min(1.0, 2 * min(usually, self.measures.prediction.p_above(HIGH_PREDICTION))))

    @property
    def p_wrong(self) -> float:
        """The p-value of "these maps are wrong". Not corrected for methods and looks.

        The agreement must be shown to be below 0.4, and one of four causes as well.
        """
        if self.measures is None:
            return 1.0
        return max(self.measures.agreement.p_below(GOOD_AGREEMENT), min(self.p_bad.values()))


def decide(evidence: Mapping[str, Evidence], alpha: float, share: float) -> dict[str, MethodResult]:
    """Return the verdict about each method, whose p-values are corrected for methods and interim looks.

    Args:
        evidence: by method.
        alpha: the significance level of either verdict.
        share: what share of it this look may spend.
    """
    right, wrong = (hochberg([getattr(its, name) for its in evidence.values()]) for name in ("p_right", "p_wrong"))
    return {
        name: MethodResult(
            its.measures,
            its.by_class,
            its.several_classes,
            its.decidable,
            alpha,
            share,
            min(1.0, right[number] / share),
            min(1.0, wrong[number] / share),
        )
        for number, (name, its) in enumerate(evidence.items())
    }


@dataclass(frozen=True, eq=False)
class MethodResult(Evidence):
    """What was measured of one method's maps, and the verdict about them."""

    alpha: float
    """The significance level."""
    share: float
    """The share of it that the last look could spend."""
    p_supported: float
    """The p-value of "supported", corrected for methods and interim looks."""
    p_contradicted: float
    """The p-value of "contradicted", corrected for causes, methods and interim looks."""

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
    def scope(self) -> list[int]:
        """The classes whose own images show an agreement above 0.2; corrected for the number of classes and looks."""
        return self._classes([its.p_above(LOW_AGREEMENT) for its in self.by_class.values()])

    @property
    def disagreeing_classes(self) -> list[int]:
        """The classes whose own images show an agreement below 0.2, although there may be few of them."""
        return self._classes([its.p_below(LOW_AGREEMENT) for its in self.by_class.values()])

    def _classes(self, p_values: list[float]) -> list[int]:
        corrected = zip(self.by_class, hochberg(p_values), strict=True)
        return [number for number, p in corrected if p <= self.share * self.alpha]

    @property
    def unnoticed_share(self) -> float:
        """The largest share of images like these that could disagree with occlusion: an upper 95 % bound.

        An image disagrees if its true agreement is zero or less. Its estimate is then above zero in up to half of the
        cases, so the bound is twice that on the share of estimates that are not (C. Clopper, E. Pearson, 1934).
        """
        if self.measures is None:
            return 1.0
        disagreeing = int((self.measures.agreement_of_images <= 0).sum())
        agreeing = len(self.measures.agreement_of_images) - disagreeing
        return min(1.0, 2 * float(stats.beta.ppf(0.95, disagreeing + 1, agreeing))) if agreeing else 1.0

    @property
    def causes(self) -> list[str]:
        """What contradicts the maps, in words."""
        if self.measures is None or self.verdict != "contradicted":
            return []
        words = {
            "prediction": "they do not predict how far the log-odds fall when parts of the image are hidden",
            "registration": f"they agree with occlusion better when shifted by {self.measures.best_shift} cells",
            "excess": "they have a pattern in common that predictions do not depend on",
            "equivariance": "they do not move when the image is shifted",
        }
        return [words[name] for name, p in self.p_bad.items() if p <= self.share * self.alpha]

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
            return "the maps of some classes disagree with occlusion"
        p = self.p_good
        missing = [name for name in p if p[name] > self.share * self.alpha] or [max(p, key=lambda name: p[name])]
        return f"not shown: {', '.join(f'{name} {LIMITS[name]}' for name in missing)}"


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
    """The time of the audit, in forward passes of the images that were used, as timed there. Gradients, shifts and
    statistics are included."""
    seed: int
    """The seed of order, windows, fills and shifts."""
    class_names: Sequence[str] | None = None
    image_names: Sequence[str] | None = None
    """The names of all images that the audit received, such as those of their files, for the report."""
    gradients_vary: bool = False
    """Whether gradients differ between positions, as behind a flattening. HiResCAM weights each position by its own."""

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
        if self.verdict == "undecided" and all(result.decidable for result in self.by_method.values()):
            sentences.append(f"More images than {len(self.images)} may decide.")
        contradicted = [name for name, verdict in verdicts.items() if verdict == "contradicted"]
        if contradicted:
            sentences.append(f"Do not use: {', '.join(contradicted)}.")
        if contradicted and self.gradients_vary:
            sentences.append(
                "Gradients differ between positions, as behind a flattening, where averaging them is wrong: use "
                "LayerDiffHiResCam."
            )
        elif contradicted and self.supported:
            sentences.append("Some maps agree where others do not: a term common to all logits may be the cause.")
        if any("better when shifted" in cause for name in contradicted for cause in self.by_method[name].causes):
            sentences.append("Positions of the layer are not those of the image: check its layout and what follows it.")
        return sentences

    @property
    def scope_text(self) -> str:
        """Which images the verdicts are about, which classes they exclude, and what could be unnoticed."""
        return " ".join([self.classes_text, *(f"{name}: {self.scope_of(name)}." for name in self.supported)])

    @property
    def classes_text(self) -> str:
        """The classes, and how many images each has."""
        counts = Counter(self.target.tolist())
        classes = _listed([f"{self._class_name(number)} ({count})" for number, count in counts.most_common()], 12)
        return f"Classes (images): {classes}."

    def scope_of(self, name: str) -> str:
        """Return what classes the support of a method's maps includes by themselves, and what it excludes."""
        result = self.by_method[name]
        own, without = (
            _listed([self._class_name(number) for number in result.by_class if (number in result.scope) is shown], 8)
            for shown in (True, False)
        )
        few = len(set(self.target.tolist()) - set(result.by_class))
        parts = [
            f"shown for these classes by themselves: {own}" if own else "shown for no class by itself",
            *([f"excludes {without}, whose own images do not show it"] if without else []),
            *([f"excludes {few} class{'es' if few > 1 else ''} with too few images"] if few else []),
            f"up to {result.unnoticed_share:.0%} of such images may disagree",
        ]
        return "; ".join(parts)

    def _class_name(self, number: int) -> str:
        return str(number) if self.class_names is None else str(self.class_names[number])

    def _image_name(self, index: int) -> str:
        """Return the name of an image, or its number in what the audit received."""
        number = int(self.indices[index])
        return f"image {number}" if self.image_names is None else str(self.image_names[number])

    def __repr__(self) -> str:
        classes = len(set(self.target.tolist()))
        verdicts = "; ".join(
            f"{name} {its.verdict}" + f" ({len(its.scope)} of {classes} classes)" * (its.verdict == "supported")
            for name, its in self.by_method.items()
        )
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

    def _chosen(self, which: Literal["worst", "typical"], count: int) -> Tensor:
        """Return which images are the worst, or are typical."""
        agreement = self.agreement
        lowest = torch.stack(list(agreement.values())).amin(dim=0) if agreement else torch.zeros(len(self.images))
        order = lowest.argsort() if which == "worst" else (lowest - lowest.median()).abs().argsort()
        return order[:count]

    def _overlays(self, chosen: Tensor) -> tuple[list[Any], Any, list[str]]:
        """Return images to look at, (N, H, W, 3), each with its occlusion map and all maps, and the titles of these."""
        images = self.images[chosen]
        if images.shape[1] not in (1, 3):
            images = images.mean(dim=1, keepdim=True)
        columns = {"occlusion": self.occlusion_maps, **self.maps}
        drawn = overlay(images, [maps[chosen, None] for maps in columns.values()], limits="map")
        return [picture.rgb for picture in as_pictures(images)], drawn, list(columns)

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
        chosen = self._chosen(which, count)
        pictures, drawn, columns = self._overlays(chosen)
        titles = [f"{which} images", *(name.replace("()", "").replace("(", "\n(", 1) for name in columns)]
        rows = []
        for i, (index, picture) in enumerate(zip(chosen.tolist(), pictures, strict=True)):
            captions = [
                self._class_name(int(self.target[index])),
                "",
                *(f"r = {agreement[name][index]:.2f}" if name in agreement else "" for name in self.maps),
            ]
            if i == 0:
                captions = [f"{title}\n{caption}" for title, caption in zip(titles, captions, strict=True)]
            cells = zip((picture, *drawn[i]), captions, strict=True)
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
        page = folder / "audit.html"
        page.write_text(_page(self), encoding="utf-8")
        return page


def _listed(names: Sequence[str], most: int) -> str:
    """Return names in one line, the first of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _json_number(value: float) -> float | None:
    """Return the number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


_TITLES = {
    "LayerDiffGradCam(contrast=[])": "Grad-CAM",
    "LayerDiffGradCam()": "DiffGradCAM",
    "LayerDiffGradCam(reduction='mean')": "DiffGradCAM (mean of rivals)",
}
_WORDS = {
    "supported": "its maps show what predictions depend on",
    "contradicted": "its maps do not show what predictions depend on",
    "undecided": "its maps were shown to be neither right nor wrong",
}
_MEANINGS = {
    "agreement": "Does the map agree with hiding parts of the image? 1: completely.",
    "prediction": "Does it predict how far confidence falls, part by part? 1: completely.",
    "registration": "How much better it fits if it is shifted by a cell or two.",
    "excess": "What all maps have in common and predictions do not depend on.",
    "deficit": "What all predictions depend on and no map shows.",
    "equivariance": "Does it move with the image? Below 0: it stays.",
}
_CASES: dict[Literal["typical", "worst"], str] = {
    "typical": "Typical images: agreement near the median",
    "worst": "Worst images: a map agrees least",
}
_SIDE = 160
"""Width of a picture on the page, in pixels."""
_TEMPLATES = Environment(
    loader=PackageLoader("captum_diffcam.audit", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)


def _plus_minus(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "not measured"
    return f"{estimate.value:.2f} \N{PLUS-MINUS SIGN} {estimate.error:.2f}"


_TEMPLATES.filters["plus_minus"] = _plus_minus


def _page(report: AuditReport) -> str:
    """Return the report as HTML: verdicts first, then images, then the measures in plain words."""
    titles = {name: _TITLES.get(name, name) for name in report.by_method}
    advice = " ".join(report.advice)
    for name, title in titles.items():
        advice = advice.replace(name, title)
    drawable = report.maps and report.occlusion_maps.ndim == 3
    return _TEMPLATES.get_template("audit.html").render(
        report=report,
        titles=titles,
        advice=advice,
        words=_WORDS,
        reasons={name: _because(report, name) for name in titles},
        cases={title: _pictures(report, which) for which, title in _CASES.items()} if drawable else {},
        meanings=_MEANINGS,
        limits=LIMITS,
        high_prediction=HIGH_PREDICTION,
    )


def _because(report: AuditReport, name: str) -> str:
    """Return the reason of a verdict as a sentence; for support, the classes that it includes and excludes."""
    result = report.by_method[name]
    reason = report.scope_of(name) if result.verdict == "supported" else result.reason
    return f"{reason[0].upper()}{reason[1:]}."


def _pictures(report: AuditReport, which: Literal["typical", "worst"]) -> list[dict[str, Any]]:
    """Return the name of each of three images, and its pictures: title, agreement and address of each."""
    chosen = report._chosen(which, 3)
    images, drawn, columns = report._overlays(chosen)
    rows = []
    for index, image, maps in zip(chosen.tolist(), images, drawn, strict=True):
        pictures = [("image", "", _png(image))]
        for name, picture in zip(columns, maps, strict=True):
            r = f"r = {report.agreement[name][index]:.2f}" if name in report.agreement else ""
            pictures.append((_TITLES.get(name, name), r, _png(picture)))
        named = f"{report._image_name(index)}: {report._class_name(int(report.target[index]))}"
        rows.append({"name": named, "pictures": pictures})
    return rows


def _png(picture: Any) -> str:
    """Return a picture (H, W, 3) from 0 to 1 as a data address."""
    image = Image.fromarray((255 * picture).round().clip(0, 255).astype("uint8"))
    image = image.resize((_SIDE, max(1, round(_SIDE * image.height / image.width))), Image.Resampling.BILINEAR)
    stream = io.BytesIO()
    image.save(stream, format="png")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
