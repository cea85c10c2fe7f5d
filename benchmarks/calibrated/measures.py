"""What each map predicts of windows that no map has seen, and how far a manipulated layer moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import KernelShap
from torch import Tensor, nn
from torch.nn.functional import interpolate

from captum_diffcam import CalibratedMap, ContrastScore, LayerDiffGradCam, SpatialLayer
from captum_diffcam.attacks import shift_features
from captum_diffcam.calibrated import calibrate_map
from captum_diffcam.metrics import pearson
from captum_diffcam.occlusion import cover, fill_of, grid_windows, in_pixels

DEFAULT = "default map"
CALIBRATED, ALONE, OCCLUSION, RISE, SHAP = "calibrated", "windows alone", "occlusion", "RISE", "KernelSHAP"
_QUARTERS = grid_windows(2, 2, [1 / 2])
PLANS = {9: grid_windows(2, 3, [3 / 7]), 18: torch.cat([grid_windows(2, 4, [5 / 14]), _QUARTERS[[0, 3]]])}
"""The windows by their number: the default ones, and 4 x 4 smaller ones with two opposite quarters of the image.

With the forward passes for the image and its map, 18 windows take 20.
"""
SIDES = (2, 3)
"""The sides of the held-out windows, in cells."""
CELLS = 7
SHIFT = (3, 3)
_BATCH = 9
_STARTS = {2: (0, 1, 3, 4, 5), 3: (1, 3)}
"""Where held-out windows begin. No window of a plan is one of them."""
_SHAP_PARTS, _RISE_CELLS = 2, 4
"""Along each dimension. KernelSHAP needs more samples than parts, here about twice as many."""


def held_out_windows(side: int) -> Tensor:
    """Return windows of so many cells, as shares of the image's side. Shape: (K, 2, 2)."""
    starts = _STARTS[side]
    corners = [
        (a, b) for i, a in enumerate(starts) for j, b in enumerate(starts) if len(starts) == 2 or (i + j) % 2 == 0
    ]
    return torch.tensor([[[a, a + side], [b, b + side]] for a, b in corners]) / CELLS


def predictions(model: nn.Module, layer: SpatialLayer, images: Tensor) -> dict[str, Any]:
    """Return what each map predicts of held-out windows, in nats, and what was measured.

    Returns:
        ``"falls"``, and each method: for each side a tensor (N, K).
    """
    with torch.no_grad():
        target = model(images).argmax(dim=1)
    cam = LayerDiffGradCam(model, layer)
    maps = maps_of(cam, images, target)
    grid, size = maps[DEFAULT].shape[2:], images.shape[2:]
    result: dict[str, Any] = {name: {} for name in ("falls", *maps)}
    for side in SIDES:
        windows = held_out_windows(side)
        held_out = CalibratedMap(cam, windows).calibrate(images, target, windows_per_eval=_BATCH)
        covers = cover(in_pixels(windows, size), size, grid)
        result["falls"][side] = held_out.falls
        for name, map_ in maps.items():
            result[name][side] = map_.flatten(1).double() @ covers.T
    return result


def maps_of(cam: LayerDiffGradCam[Tensor], images: Tensor, target: Tensor) -> dict[str, Tensor]:
    """Return the map of each method with each number of windows, (N, 1, 7, 7). Those of RISE have no scale."""
    maps = {DEFAULT: cam.attribute(images, target)}
    grid = maps[DEFAULT].shape[2:]
    odds = ContrastScore(cam.forward_func)
    filled = fill_of(images, "blur")

    def scores(hidden: Tensor) -> Tensor:
        with torch.no_grad():
            own: Tensor = odds(hidden).gather(1, target[:, None])
        return own[:, 0]

    for count, windows in PLANS.items():
        calibrated, alone, falls = with_and_without_map(cam, windows, images, target)
        maps[f"{CALIBRATED}, {count}"], maps[f"{ALONE}, {count}"] = calibrated, alone
        covers = cover(in_pixels(windows, images.shape[2:]), images.shape[2:], grid)
        per_cell = (falls / covers.sum(dim=1)) @ covers / covers.sum(dim=0).clamp(min=1e-6)
        maps[f"{OCCLUSION}, {count}"] = per_cell.reshape(maps[DEFAULT].shape)
    maps[f"{RISE}, 9"] = _rise(scores, images, filled, grid, 9)
    maps[f"{SHAP}, 9"] = _kernel_shap(odds, images, filled, target, grid, 9)
    return maps


def with_and_without_map(
    cam: LayerDiffGradCam[Tensor], windows: Tensor, images: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the calibrated map, the reconstruction from the windows alone, and the falls (N, K).

    Both maps come from the same forward passes, which halves the time.
    """
    maps, _, _, falls, *_ = CalibratedMap(cam, windows).calibrate(images, target, windows_per_eval=_BATCH)
    size = images.shape[2:]
    covers = cover(in_pixels(windows, size), size, maps.shape[2:]).to(maps.device)
    alone = calibrate_map(torch.zeros_like(maps).flatten(1), covers, falls)[0]
    return maps, alone.reshape(maps.shape), falls


def _rise(scores: Callable[[Tensor], Tensor], images: Tensor, filled: Tensor, grid: torch.Size, count: int) -> Tensor:
    """Return the mean of random masks, weighted by the score of what they show; the mean score is subtracted."""
    masks = (torch.rand(count, 1, _RISE_CELLS, _RISE_CELLS) < 0.5).float()
    smooth = interpolate(masks, images.shape[2:], mode="bilinear")
    shown = torch.stack([scores(images * mask + filled * (1 - mask)) for mask in smooth], dim=1)
    cells = interpolate(smooth, tuple(grid), mode="area")[:, 0].flatten(1)
    return ((shown - shown.mean(dim=1, keepdim=True)) @ cells / count).reshape(-1, 1, *grid)


def _kernel_shap(
    odds: nn.Module, images: Tensor, filled: Tensor, target: Tensor, grid: torch.Size, count: int
) -> Tensor:
    """Return Captum's KernelSHAP of equal parts of the image, each part's value shared among its cells."""
    parts = _SHAP_PARTS
    numbers = torch.arange(parts**2).float().reshape(1, 1, parts, parts)
    mask = interpolate(numbers, images.shape[2:], mode="nearest").long()
    maps = []
    for image, behind, label in zip(torch.split(images, 1), torch.split(filled, 1), target.tolist(), strict=True):
        values = KernelShap(odds).attribute(image, behind, label, feature_mask=mask, n_samples=count)
        maps.append(interpolate(values[:, :1], tuple(grid), mode="area") * parts**2 / grid.numel())
    return torch.cat(maps).detach()


def kept(model: nn.Module, layer: str, images: Tensor) -> dict[str, Tensor]:
    """Return the correlation of each map with that of the clean model, after its features are shifted. Shapes: (N,).

    No logit changes, which ``shift_features`` checks, so both models have the same falls and the same reconstruction
    from these alone. They are measured on the manipulated one.
    """
    manipulated = shift_features(model, layer, images, SHIFT)
    with torch.no_grad():
        target = model(images).argmax(dim=1)
    clean_cam, cam = LayerDiffGradCam(model, layer), LayerDiffGradCam(manipulated.model, manipulated.layer)
    clean = clean_cam.attribute(images, target)
    result = {DEFAULT: pearson(clean, cam.attribute(images, target))}
    for count, windows in PLANS.items():
        after, _, falls = with_and_without_map(cam, windows, images, target)
        covers = cover(in_pixels(windows, images.shape[2:]), images.shape[2:], clean.shape[2:]).to(clean.device)
        before = calibrate_map(clean.flatten(1), covers, falls)[0]
        result[f"{CALIBRATED}, {count}"] = pearson(before.reshape(after.shape), after)
    return result
