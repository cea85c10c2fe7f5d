"""Which windows, and which form of the formula: measured on images and nets that no other study reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from PIL import ImageOps
from torch import Tensor, nn

from benchmarks.calibrated.measures import ALONE, CALIBRATED, CELLS, OCCLUSION, PLANS, SHIFT, SIDES, held_out_windows
from benchmarks.common.clean_models import Setting
from benchmarks.common.images import load_image, packaged_photographs
from benchmarks.common.layers import choose_layer
from benchmarks.common.manipulated_models import ADAPTIVE, AT_ONCE, LOGSUMEXP, MEAN, SHAM, manipulate, reference_for
from benchmarks.common.models import Classifier, blank_input
from benchmarks.common.names import CLOTHES, GLYPHS
from benchmarks.common.occlusion import occlusion_maps
from benchmarks.common.stored import Stored
from captum_diffcam import CalibratedMap, LayerDiffGradCam
from captum_diffcam.attribution import Layer
from captum_diffcam.calibrated import calibrate_map
from captum_diffcam.metrics import pearson
from captum_diffcam.occlusion import cover, grid_windows, in_pixels

CLEAN, SHIFTED = "clean", "shifted features"
_ATTACKS = (SHAM, ADAPTIVE[LOGSUMEXP], ADAPTIVE[MEAN], AT_ONCE)
_WEIGHT = 3.0
_SEEDS = {CLOTHES: (100, 101), GLYPHS: (100,)}
_CROP = 0.75
"""The side of the two crops of each photograph, as a share of its shorter side."""
_LENGTH = 1.0
"""How far a smooth correction reaches, in cells."""
_RESAMPLES = 1000
"""Of the bootstrap."""
_RIDGES = tuple(10 ** (exponent / 4) for exponent in range(-12, 9))


def _grid(per_side: int, size: float) -> Tensor:
    return grid_windows(2, per_side, [size])


_PARTS = {
    "9 of 3/7": PLANS[9],
    "9 of 1/2": _grid(3, 1 / 2),
    "9 of 1/3": _grid(3, 1 / 3),
    "16 of 3/10": _grid(4, 3 / 10),
    "16 of 1/3": _grid(4, 1 / 3),
    "16 of 5/14": PLANS[18][:16],
    "16 of 3/7": _grid(4, 3 / 7),
    "1 of 3/5": _grid(1, 3 / 5),
    "1 of 9/10": _grid(1, 9 / 10),
    "2 of 1/2": PLANS[18][16:],
    "4 of 1/2": _grid(2, 1 / 2),
}
"""Windows by their number and size, as shares of the image's side."""
_ALONE = ("9 of 3/7", "9 of 1/2", "9 of 1/3", "16 of 3/10", "16 of 1/3", "16 of 5/14", "16 of 3/7")
_TOGETHER = (
    ("9 of 3/7", "1 of 3/5"),
    ("16 of 5/14", "1 of 9/10"),
    ("9 of 1/2", "9 of 1/3"),
    ("16 of 5/14", "2 of 1/2"),
    ("16 of 5/14", "4 of 1/2"),
)
LAYOUTS = {" and ".join(parts): parts for parts in (*((part,) for part in _ALONE), *_TOGETHER)}
"""The parts of each set of windows."""


def windows_of(layout: str) -> Tensor:
    """Return the windows of a layout, (K, 2, 2)."""
    return torch.cat([_PARTS[part] for part in LAYOUTS[layout]])


def calibrated(maps: Tensor, covers: Tensor, falls: Tensor) -> Tensor:
    """Return the calibrated maps (N, P)."""
    return calibrate_map(maps, covers, falls)[0]


def alone(maps: Tensor, covers: Tensor, falls: Tensor) -> Tensor:
    """Return the reconstruction from the windows alone, (N, P)."""
    return calibrate_map(torch.zeros_like(maps), covers, falls)[0]


def scaled(maps: Tensor, covers: Tensor, falls: Tensor) -> Tensor:
    r"""Return calibrated maps whose CAM is first scaled by a number from 0 to 1, fitted for each image.

    .. math:: a = \frac{(W M)^\top (W W^\top + \rho I)^{-1} f}{(W M)^\top (W W^\top + \rho I)^{-1} W M}

    is the coefficient of generalised least squares, as in regression kriging (kriging with an external drift). The
    ridge is chosen together with it by generalised cross-validation.
    """
    values, vectors = torch.linalg.eigh(covers @ covers.T)
    kept = values > values.max() * 1e-10
    values, vectors = values[kept], vectors[:, kept]
    ridges = torch.tensor(_RIDGES, dtype=torch.float64)[:, None] * values.mean()
    weights, shrink = 1 / (values + ridges), ridges / (values + ridges)
    claimed, measured = (part @ vectors for part in (maps @ covers.T, falls))
    scale = ((claimed * measured) @ weights.T / (claimed.square() @ weights.T)).clamp(0, 1)
    left = measured[:, None] - scale[:, :, None] * claimed[:, None]
    best = ((left * shrink).square().sum(dim=2) / shrink.sum(dim=1).square()).argmin(dim=1)
    n = torch.arange(len(maps))
    corrected: Tensor = scale[n, best][:, None] * maps + (left[n, best] * weights[best]) @ vectors.T @ covers
    return corrected


def smooth(maps: Tensor, covers: Tensor, falls: Tensor) -> Tensor:
    r"""Return calibrated maps whose correction varies smoothly.

    With the covariance :math:`C = L L^\top` of positions, Gaussian in their distance, the map is
    :math:`M + C W^\top (W C W^\top + \rho I)^{-1} (f - W M)`. That is :math:`L` times the calibrated map of
    :math:`L^{-1} M` with the windows :math:`W L`.
    """
    places = torch.cartesian_prod(*[torch.arange(CELLS, dtype=torch.float64)] * 2)
    covariance = (-torch.cdist(places, places).square() / (2 * _LENGTH**2)).exp()
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(places), dtype=torch.float64))
    claimed = torch.linalg.solve_triangular(root, maps.T, upper=False).T
    corrected: Tensor = calibrate_map(claimed, covers @ root, falls)[0] @ root.T
    return corrected


FORMS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    CALIBRATED: calibrated,
    ALONE: alone,
    "scaled map": scaled,
    "smooth correction": smooth,
}


def planned(
    classifier: Callable[[], Classifier], settings: Mapping[str, Setting], stored: Stored, quick: bool
) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what measures each piece, by its key."""
    files = packaged_photographs()[: 1 if quick else None]
    photographs = {f"choices, {file.name}": partial(_of_photograph, classifier, file) for file in files}
    nets = {
        f"choices, {name}, seed {seed}": partial(_of_net, settings[name], seed, stored)
        for name, seeds in _SEEDS.items()
        if name in settings and not quick
        for seed in seeds
    }
    return {**photographs, **nets}


def _of_photograph(classifier: Callable[[], Classifier], file: Any) -> dict[str, Any]:
    chosen, image = classifier(), load_image(file)
    side, (width, height) = int(_CROP * min(image.size)), image.size
    crops = [(0, 0, side, side), (width - side, height - side, width, height)]
    shown = [image, *(ImageOps.mirror(image.crop(crop)) for crop in crops)]
    images = torch.stack([chosen.preprocess(each) for each in shown])
    with torch.no_grad():
        target = chosen.model(images).argmax(dim=1)
    layer = choose_layer(chosen.model, blank_input(chosen.preprocess), None)
    return {"subject": chosen.name, CLEAN: _measured(chosen.model, layer, images, target)}


def _of_net(setting: Setting, seed: int, stored: Stored) -> dict[str, Any]:
    clean = setting.make(seed, "last", False)
    reference = reference_for(clean, lambda target: {})

    def of(model: nn.Module, layer: nn.Module) -> dict[str, Any]:
        return _measured(model, layer, clean.images, reference.target, exhaustive=True)

    def attacked(attack: str) -> dict[str, Any]:
        return of(*manipulate(setting, seed, "last", attack, _WEIGHT, clean, reference.hoax, stored))

    return {
        "subject": setting.name,
        CLEAN: of(clean.model, clean.layer),
        **{attack: attacked(attack) for attack in _ATTACKS},
    }


def _measured(
    model: nn.Module, layer: Layer, images: Tensor, target: Tensor, exhaustive: bool = False
) -> dict[str, Any]:
    """Return the maps (N, P), and for each part and each side of held-out windows the falls and what they cover."""
    cam, size = LayerDiffGradCam(model, layer), images.shape[2:]
    maps = cam.attribute(images, target)
    result: dict[str, Any] = {"maps": maps.flatten(1).double()}
    if exhaustive:
        result[OCCLUSION] = occlusion_maps(model, images, target, maps.shape[2:]).flatten(1).double()
    parts = {**_PARTS, **{str(side): held_out_windows(side) for side in SIDES}}
    windows = torch.cat(list(parts.values()))
    falls = CalibratedMap(cam, windows).calibrate(images, target).falls.double()
    covers = cover(in_pixels(windows, size), size, maps.shape[2:])
    sizes = [len(part) for part in parts.values()]
    for name, own_falls, own_covers in zip(
        parts, torch.split(falls, sizes, dim=1), torch.split(covers, sizes), strict=True
    ):
        result[name] = {"falls": own_falls, "covers": own_covers}
    return result


def rows_of(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each subject, layout and form: pooled r, slope with its interval, and what attacks leave.

    The attacks are named after their correlation of the map with that of the clean model, a mean over images. Features
    are shifted by :data:`SHIFT`.
    """
    rows = []
    for subject in dict.fromkeys(result["subject"] for result in results):
        own = [result for result in results if result["subject"] == subject]
        attacks = [key for key in own[0] if key in _ATTACKS]
        ceiling = {
            attack: _mean([pearson(r[attack][OCCLUSION], r[CLEAN][OCCLUSION]) for r in own]) for attack in attacks
        }
        for layout in LAYOUTS:
            for name, form in FORMS.items():
                row = {"subject": subject, "windows": layout, "form": name}
                maps = [_form(form, result[CLEAN], layout) for result in own]
                for side in SIDES:
                    held_out = [result[CLEAN][str(side)] for result in own]
                    x = torch.cat([m @ each["covers"].T for m, each in zip(maps, held_out, strict=True)])
                    y = torch.cat([each["falls"] for each in held_out])
                    row[f"r, {side} x {side}"], row[f"slope, {side} x {side}"] = map(float, _r_and_slope(x, y))
                    low, high = _slope_interval(x, y)
                    row[f"slope, {side} x {side}, low"], row[f"slope, {side} x {side}, high"] = low, high
                moved = [_form(form, {**r[CLEAN], "maps": _rolled(r[CLEAN]["maps"])}, layout) for r in own]
                row[SHIFTED] = _mean(list(map(pearson, moved, maps)))
                for attack in attacks:
                    row[attack] = _mean(
                        [pearson(_form(form, r[attack], layout), m) for m, r in zip(maps, own, strict=True)]
                    )
                rows.append({**row, **{f"{attack}, ceiling": value for attack, value in ceiling.items()}})
    return rows


def _r_and_slope(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the correlation of y with x, and its slope on x, over images and windows. Shapes: (..., N, K) -> (...)."""
    x, y = (values.flatten(-2) - values.flatten(-2).mean(dim=-1, keepdim=True) for values in (x, y))
    xx, xy, yy = ((a * b).sum(dim=-1) for a, b in ((x, x), (x, y), (y, y)))
    return xy / (xx * yy).sqrt(), xy / xx


def _slope_interval(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the 95 % interval of the slope by the bootstrap over images. Shapes: (N, K)."""
    drawn = torch.randint(len(x), (_RESAMPLES, len(x)), generator=torch.Generator().manual_seed(0))
    low, high = _r_and_slope(x[drawn], y[drawn])[1].quantile(torch.tensor([0.025, 0.975], dtype=x.dtype)).tolist()
    return low, high


def _form(form: Callable[[Tensor, Tensor, Tensor], Tensor], measured: Mapping[str, Any], layout: str) -> Tensor:
    parts = [measured[part] for part in LAYOUTS[layout]]
    covers, falls = torch.cat([part["covers"] for part in parts]), torch.cat([part["falls"] for part in parts], dim=1)
    return form(measured["maps"], covers, falls)


def _rolled(maps: Tensor) -> Tensor:
    return maps.reshape(-1, CELLS, CELLS).roll(SHIFT, (1, 2)).flatten(1)


def _mean(values: Sequence[Tensor]) -> float:
    return torch.cat(list(values)).mean().item()
