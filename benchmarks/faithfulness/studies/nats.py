"""Whether a map's numbers are log-odds: does the map sum to its score, and does hiding x nats cost x nats?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from benchmarks.common.localization import correlation
from benchmarks.faithfulness.studies.methods import INPUT_IG, Method, Question, baseline
from benchmarks.faithfulness.studies.networks import Network
from benchmarks.faithfulness.studies.removal import Numbers, imputed
from captum_diffcam import ContrastScore

SIZES = (1, 3)
"""The sides of the hidden regions, in positions of the layer."""
REGIONS = 3
"""Regions along each side of the image, evenly spaced."""
OWN, LOG_ODDS = "own score", "log-odds"
CEILING = "true effect on the region's own positions"
"""What hiding a region changes at the layer's positions in the region, while all others keep their features."""
LINEAR = "gradient times the true change at the region's own positions"
"""The same without the curvature of the score. Needs the features of the hidden image, as the true effect does."""
RELATIVE = "gradient times the difference from a blank image's features"
"""A map that takes one more forward pass, of an image of the mean colour, instead of assuming features of zero."""
HALVES = "falls of the region's two halves"
"""Their sum, for the largest regions and one fill. It is what a map says that is exactly right about the halves."""
HALVED = "mean colour"
_BATCH = 4
"""Larger batches take longer for each image on a CPU."""


def blurred(images: Tensor) -> Tensor:
    """Return images without details: the mean colours of 4 x 4 parts, upsampled."""
    return interpolate(adaptive_avg_pool2d(images, 4), images.shape[2:], mode="bilinear")


FILLS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mean colour": lambda images, hidden: baseline(images),
    "blurred": lambda images, hidden: blurred(images),
    "inpainted": imputed,
}
"""What hidden pixels show, from images (N, 3, H, W) and hidden pixels (N, H, W)."""


def completeness(network: Network, method: Method, question: Question, map_: Tensor) -> Tensor:
    """Return how far the sum of a map is from what it explains, as a share of the score's size. Shape: (N,).

    For gradients this is the part of the score that is linear in the feature maps, v (z - z0), with the score's
    derivative v at the logits z, and the logits z0 of zeros: the biases. The rest is a constant: the contrast of the
    biases, and for logsumexp the entropy of the rivals' shares. For integrated gradients it is the change of the score
    from the baseline.
    """
    assert method.score is not None
    targets = question.targets[:, None]
    with torch.no_grad():
        logits = network.tail(question.features)
        zero = network.tail(torch.zeros_like(question.features))
        if method.is_integral:
            start = network.whole(baseline(question.images)) if method.name == INPUT_IG else zero
            expected = (method.score(logits) - method.score(start)).gather(1, targets)[:, 0]
    if not method.is_integral:
        leaf = logits.clone().requires_grad_()
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(method.score(leaf).gather(1, targets).sum(), leaf)
        expected = (slope * (logits - zero)).sum(dim=1)
    score = method.score(logits).gather(1, targets)[:, 0]
    return (map_.flatten(1).sum(dim=1) - expected).abs() / score.abs()


def hidden_regions(network: Network, methods: Sequence[Method], question: Question) -> Numbers:
    """Return completeness, and sums over hidden regions of x, f, x^2, f^2 and x f for each image.

    x is the sum of the map in a region, f the fall of a score when the region is hidden. From the sums over images come
    slope and correlation. "within" is the correlation over the regions of one image.
    """
    targets, scored = question.targets[:, None], [method for method in methods if method.score is not None]
    maps = {method.name: method.maps(question) for method in scored}
    numbers = {f"completeness|{m.name}": completeness(network, m, question, maps[m.name]) for m in scored}
    odds = ContrastScore(lambda logits: logits)
    with torch.no_grad():
        before = network.tail(question.features)
    # Captum's methods make the features require a gradient.
    features = question.features.detach()
    gradient = _gradient(network, question)
    relative = (gradient * (features - network.features(baseline(question.images)))).sum(dim=1)
    for size, fill in ((size, fill) for size in SIZES for fill in FILLS):
        regions = torch.stack(list(_regions(features.shape[2], size))).to(before.device)
        pixels = _resized(regions, question.images[:, 0]) > 0
        changed = _changed(network, question, pixels, FILLS[fill])
        mixed = torch.where(regions[:, None] > 0, changed, features[:, None])
        after, own = (_logits_of(network, maps_) for maps_ in (changed, mixed))

        def fall(score: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
            classes = targets[:, None].expand(-1, logits.shape[1], -1)
            values = score(logits.flatten(0, 1)).reshape(logits.shape)
            return score(before).gather(1, targets) - values.gather(2, classes)[:, :, 0]

        change = (gradient[:, None] * (features[:, None] - changed) * regions[:, None]).flatten(2).sum(dim=2)
        fallen = fall(odds, after)
        pairs = {
            CEILING: {OWN: (fall(odds, own), fallen)},
            LINEAR: {OWN: (change, fallen)},
            RELATIVE: {OWN: (torch.einsum("nhw,rhw->nr", relative, regions), fallen)},
        }
        if size == max(SIZES) and fill == HALVED:
            falls = [
                fall(odds, _logits_of(network, _changed(network, question, half, FILLS[fill])))
                for half in _halves(pixels)
            ]
            pairs[HALVES] = {OWN: (falls[0] + falls[1], fallen)}
        for method in scored:
            assert method.score is not None
            x = torch.einsum("nhw,rhw->nr", maps[method.name], _resized(regions, maps[method.name]))
            pairs[method.name] = {OWN: (x, fall(method.score, after)), LOG_ODDS: (x, fallen)}
        for name, by_score in pairs.items():
            for score, (x, f) in by_score.items():
                where = f"{size}, {fill}, {score}|{name}"
                for sums, values in (("x", x), ("f", f), ("xx", x * x), ("ff", f * f), ("xf", x * f)):
                    numbers[f"{sums}, {where}"] = values.double().sum(dim=1)
                numbers[f"within, {where}"] = correlation(x[:, None], f[:, None])
    return numbers


def _gradient(network: Network, question: Question) -> Tensor:
    """Return the gradient of the log-odds with respect to the features. Shape: (N, K, h, w)."""
    odds, leaf = ContrastScore(network.tail), question.features.detach().clone().requires_grad_()
    with torch.enable_grad():
        score = odds(leaf).gather(1, question.targets[:, None]).sum()
        (gradient,) = torch.autograd.grad(score, leaf)
    return gradient


def _regions(grid: int, size: int) -> Iterator[Tensor]:
    """Yield masks (grid, grid) of squares that are evenly spaced."""
    starts = np.linspace(0, grid - size, REGIONS).round().astype(int)
    for top in starts:
        for left in starts:
            mask = torch.zeros(grid, grid)
            mask[top : top + size, left : left + size] = 1
            yield mask


def _resized(regions: Tensor, like: Tensor) -> Tensor:
    """Return masks at the resolution of a map. Shapes: (R, g, g) -> (R, h, w)."""
    return interpolate(regions[:, None], like.shape[1:], mode="nearest")[:, 0]


def _halves(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower half of each region. Shapes: (R, H, W) boolean -> two of (R, H, W)."""
    rows = pixels.any(dim=2).cumsum(dim=1)
    upper = pixels & (2 * rows <= rows[:, -1:])[:, :, None]
    return upper, pixels & ~upper


@torch.no_grad()
def _changed(network: Network, question: Question, hidden: Tensor, fill: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the features of every image with each region hidden. Shapes: (R, H, W) boolean -> (N, R, K, h, w)."""
    changed = []
    for image in question.images:
        images = image.expand(len(hidden), -1, -1, -1)
        filled = torch.where(hidden[:, None], fill(images, hidden), images)
        changed.append(torch.cat([network.features(batch) for batch in torch.split(filled, _BATCH)]))
    return torch.stack(changed)


@torch.no_grad()
def _logits_of(network: Network, features: Tensor) -> Tensor:
    """Return the logits of features. Shapes: (N, R, K, h, w) -> (N, R, C)."""
    logits: Tensor = network.tail(features.flatten(0, 1))
    return logits.reshape(*features.shape[:2], -1)
