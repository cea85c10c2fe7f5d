"""Tests that the field uses, by the measures of the benchmark of faithfulness: mosaics, second class, removal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.calibrated.measures import ALONE, CALIBRATED, PLANS, with_and_without_map
from benchmarks.common.cutouts import Material
from benchmarks.common.models import lite_weights, mobilenet_weights
from benchmarks.common.names import LITE0, LITE1, MOBILENET
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.faithfulness.options import CLASSES, GRIDPG, REMOVAL
from benchmarks.faithfulness.sample import Sample
from benchmarks.faithfulness.studies import pictures
from benchmarks.faithfulness.studies.methods import DEFAULT, Method, Question, all_methods
from benchmarks.faithfulness.studies.networks import Network, real_network
from benchmarks.faithfulness.studies.plan import Piece, Sizes, Subject, measure, pieces
from captum_diffcam import LayerDiffGradCam

MEASURES = {
    "GridPG": (GRIDPG, True),
    "second class": (CLASSES, False),
    "deletion, fall": (REMOVAL, True),
    "ROAD, fall": (REMOVAL, True),
}
"""The study of each measure, and whether higher is better. The second class is a correlation that should be low."""
EXHAUSTIVE = "exhaustive occlusion"
SLOW = (f"{CALIBRATED}, 9", f"{ALONE}, 9", f"{ALONE}, 18", EXHAUSTIVE)
METHODS = {DEFAULT: "default map", **{name: name for name in SLOW}}
"""The name of each map in the tests of faithfulness, and in the rows."""
_STUDIES = (GRIDPG, CLASSES, REMOVAL)
_FULL = Sizes({2: 12}, {CLASSES: 12, REMOVAL: 12}, {GRIDPG: 12, CLASSES: 12, REMOVAL: 12})
_QUICK = Sizes({}, {CLASSES: 1, REMOVAL: 1}, dict.fromkeys(_STUDIES, 1))
_QUICK_PICTURES = 8
"""Pictures of a quick run: the packaged photographs."""


def subjects(material: Material | None, quick: bool, device: torch.device, seed: int) -> list[Subject]:
    """Return the classifiers with their pictures, photographs and cut-outs."""
    shown = [pictures.photographs(material or Material((), ()))]
    if quick or material is None:
        shown = [replace(shown[0], count=_QUICK_PICTURES)]
    else:
        shown.append(pictures.cutouts(material, seed))
    names = [LITE0]
    if not quick:
        names += [MOBILENET] * (mobilenet_weights() is not None) + [LITE1] * (lite_weights(LITE1) is not None)
    return [Subject(name, cache(partial(real_network, name, device)), tuple(shown), (2,)) for name in names]


def planned(subject: Subject, recognised: Mapping[str, Tensor], seed: int, quick: bool) -> list[Piece]:
    """Return the pieces of a classifier."""
    return list(pieces(subject, recognised, _STUDIES, _QUICK if quick else _FULL, seed))


def measured(piece: Piece, recognised: Mapping[str, Tensor], seed: int) -> dict[str, Any]:
    """Return the numbers of each image of a piece."""
    return {
        "subject": f"{piece.subject.name}, {piece.kind}",
        "study": piece.study,
        "numbers": measure(piece, recognised, seed, methods_of=methods),
    }


def methods(network: Network) -> list[Method]:
    """Return the default map, the calibrated map with and without it, and exhaustive occlusion.

    All explain the same images and classes.
    """
    (default,) = (method for method in all_methods(network, 0, peers=False) if method.name == DEFAULT)
    cam = LayerDiffGradCam(network.whole, network.tail.features)
    made: dict[tuple[str, tuple[int, ...]], dict[str, Tensor]] = {}

    def maps_of(name: str, question: Question) -> Tensor:
        # The first two maps come from the same forward passes.
        images, targets = question.images, question.targets
        pixels = images.cpu().contiguous().numpy().tobytes()
        key = (hashlib.sha256(pixels).hexdigest(), tuple(targets.tolist()))
        if key not in made:
            calibrated, alone, _ = with_and_without_map(cam, PLANS[9], images, targets)
            made[key] = {
                f"{CALIBRATED}, 9": calibrated[:, 0],
                f"{ALONE}, 9": alone[:, 0],
                f"{ALONE}, 18": with_and_without_map(cam, PLANS[18], images, targets)[1][:, 0],
                EXHAUSTIVE: occlusion_maps(network.whole, images, targets, alone.shape[2:]).to(alone),
            }
        return made[key][name]

    slow = [Method(name, partial(maps_of, name), slow=True) for name in SLOW]
    return [replace(default, slow=True), *slow]


def rows_of(results: Sequence[Mapping[str, Any]], seed: int) -> list[dict[str, Any]]:
    """Return a row for each classifier, kind of images, measure and map, with the difference from the default map.

    Differences are those on the same images, with 95 % intervals by the bootstrap over pictures.
    """
    rows = []
    for subject, study in dict.fromkeys((result["subject"], result["study"]) for result in results):
        parts = [
            (0, {name: values.double().numpy() for name, values in result["numbers"].items()})
            for result in results
            if (result["subject"], result["study"]) == (subject, study)
        ]
        sample = Sample.of(study, subject, parts, seed)
        for measure_name, (of_study, higher) in MEASURES.items():
            if of_study != study:
                continue
            for method, name in METHODS.items():
                known = np.isfinite(sample.numbers[f"{measure_name}|{method}"])
                rows.append(
                    {
                        **{"subject": subject, "measure": measure_name, "higher is better": higher, "method": name},
                        **{"images": int(known.sum()), **sample.mean(measure_name, method)._asdict()},
                        "minus default": sample.difference(measure_name, method, DEFAULT)._asdict(),
                    }
                )
    return rows


def verdict(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return on how many rows each calibrated map is significantly better and worse than the default map."""
    sentences = []
    for name in SLOW:
        better, worse, count = better_and_worse(rows, name)
        sentences.append(
            f"Of {count} comparisons with the default map (mosaics, second class, removal), {name} is better in "
            f"{better} and worse in {worse}, beyond the 95 % interval."
        )
    return sentences


def better_and_worse(rows: Sequence[Mapping[str, Any]], method: str) -> tuple[int, int, int]:
    """Return in how many rows a map is better and worse than the default, beyond the interval, and of how many."""
    own = [row for row in rows if row["method"] == method]
    higher = [(row["minus default"]["lower"] > 0, row["minus default"]["upper"] < 0) for row in own]
    signed = [pair if row["higher is better"] else pair[::-1] for pair, row in zip(higher, own, strict=True)]
    return sum(better for better, _ in signed), sum(worse for _, worse in signed), len(own)
