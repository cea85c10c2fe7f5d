"""Two real objects over a photograph, with masks that are known, and a classifier of 1000 classes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor
from torchvision.transforms.functional import normalize

from benchmarks.common.cutouts import Material, alone, compose
from benchmarks.common.layers import choose_layer
from benchmarks.common.models import Classifier, blank_input
from benchmarks.common.options import UsageError
from benchmarks.common.victims import SURE
from benchmarks.faithfulness.chunks import LOCALIZATION, Explained, Images, Subject
from benchmarks.faithfulness.explained_models import put_out

_CHUNK, _BATCH, _ATTEMPTS = 20, 32, 100
_SIDE, _SEEN, _AMONG = (0.35, 0.6), 0.03, 5
"""The longer sides of the objects, the least share of the image in which each is to be seen, and among how many of the
likeliest classes both are to be."""


def cutout_subject(classifier: Classifier, material: Material, count: int, seed: int) -> Subject:
    """Why A rather than B, on scenes of two cut-outs that the classifier recognises.

    The label of a cut-out is the class that it is given alone in the middle of grey; those below a probability of 0.3
    are left out. Scenes are drawn until two objects of different labels are both among the five likeliest classes. No
    map is asked.
    """
    device = next(classifier.model.parameters()).device

    def prepared(images: Tensor) -> Tensor:
        normal: Tensor = normalize(images, classifier.preprocess.mean, classifier.preprocess.std)
        return normal.to(device)

    @cache
    def known() -> tuple[Material, Tensor]:
        parts = []
        with torch.no_grad():
            for files in (material.cutouts[i : i + _BATCH] for i in range(0, len(material.cutouts), _BATCH)):
                images = torch.stack([alone(file) for file in files])
                parts.append(classifier.model(prepared(images)).softmax(dim=1).max(dim=1))
        sure = torch.cat([part.values for part in parts]).cpu()
        labels = torch.cat([part.indices for part in parts]).cpu()
        chosen = (sure >= SURE).nonzero()[:, 0].tolist()
        return replace(material, cutouts=tuple(material.cutouts[i] for i in chosen)), labels[chosen]

    def scenes(start: int, stop: int) -> Images:
        of, labels = known()
        if len(set(labels.tolist())) < 2:
            raise UsageError(
                f"--cutouts: the model recognises {len(labels)} of them; needed are 2 of different classes"
            )
        found: list[tuple[Tensor, Tensor, Tensor]] = []
        first = 10_000_000 * seed + 10_000 * start
        for attempt in range(first, first + _ATTEMPTS):
            drawn = compose(of, _BATCH, attempt, objects=(2, 2), side=_SIDE)
            pairs, inputs = labels[drawn.objects], prepared(drawn.images)
            with torch.no_grad():
                likeliest = classifier.model(inputs).topk(_AMONG, dim=1).indices.cpu()
            recognised = (likeliest[:, None] == pairs[:, :, None]).any(dim=2).all(dim=1)
            seen = (drawn.masks.float().mean(dim=(2, 3)) >= _SEEN).all(dim=1)
            good = recognised & seen & (pairs[:, 0] != pairs[:, 1])
            found += zip(inputs[good.to(device)], pairs[good], drawn.masks[good], strict=True)
            if len(found) >= stop - start:
                break
        else:
            raise UsageError(
                f"--cutouts: the model recognises two of them in {len(found)} of {_ATTEMPTS * _BATCH} scenes; "
                f"needed are {stop - start}"
            )
        images, named, masks = (torch.stack(each).to(device) for each in zip(*found[: stop - start], strict=True))
        return Images(images, list(range(start, stop)), named, masks)

    layer = put_out(classifier.model, choose_layer(classifier.model, blank_input(classifier.preprocess).to(device)))
    explained = Explained(classifier.model, layer, torch.zeros(3, 1, 1, device=device))
    return Subject(LOCALIZATION, f"{classifier.name}, cut-outs", 0, count, _CHUNK, lambda: explained, scenes)
