"""The definitions, written out slowly in float64: literal sums over one example at a time.

Nothing here is shared with the package. Gradients of single logits come from autograd on the model's head; everything
after that is loops over classes, channels and positions.
"""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from nets import Net
from torch import Tensor


def logits_and_gradients(net: Net, x: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations (N, k, P), logits (N, C) and the gradient of every logit (N, C, k, P), in float64."""
    net = copy.deepcopy(net).double()
    activations, logits, gradients = [], [], []
    for example in x.double():
        a = net.features(example[None]).detach().requires_grad_()
        z = net.head(a)[0]
        per_class = [torch.autograd.grad(z[c], a, retain_graph=True)[0] for c in range(len(z))]
        channels = a.shape[1]
        activations.append(a.detach().reshape(channels, -1).numpy())
        logits.append(z.detach().numpy())
        gradients.append(np.stack([g.reshape(channels, -1).numpy() for g in per_class]))
    return np.stack(activations), np.stack(logits), np.stack(gradients)


def contrast_weights(logits: list[float], rivals: list[int], reduction: str) -> dict[int, float]:
    """The weight of each rival in the contrast."""
    if reduction == "mean":
        return {j: 1 / len(rivals) for j in rivals}
    if reduction == "max":
        best = [j for j in rivals if logits[j] == max(logits[i] for i in rivals)]
        return {j: 1 / len(best) for j in best}
    top = max((logits[j] for j in rivals), default=0.0)
    total = sum(math.exp(logits[j] - top) for j in rivals)
    return {j: math.exp(logits[j] - top) / total for j in rivals}


def score(logits: list[float], target: int, rivals: list[int], reduction: str) -> float:
    """D, by its definition."""
    values = [logits[j] for j in rivals]
    if not values:
        return logits[target]
    if reduction == "mean":
        return logits[target] - sum(values) / len(values)
    if reduction == "max":
        return logits[target] - max(values)
    return logits[target] - max(values) - math.log(sum(math.exp(v - max(values)) for v in values))


def cam(net: Net, x: Tensor, targets: list[int], rivals: list[list[int]], reduction: str, weighting: str) -> np.ndarray:
    """Maps (N, P) of DiffGradCAM, DiffGradCAM++ or contrastive HiResCAM."""
    activations, logits, gradients = logits_and_gradients(net, x)
    maps = np.zeros((len(x), activations.shape[2]))
    for n in range(len(x)):
        weights = contrast_weights(list(logits[n]), rivals[n], reduction)
        channels, positions = activations[n].shape
        for k in range(channels):
            g = [
                gradients[n, targets[n], k, i] - sum(w * gradients[n, j, k, i] for j, w in weights.items())
                for i in range(positions)
            ]
            if weighting == "plus plus":
                mass = sum(max(activations[n, k, i], 0.0) for i in range(positions))
                alphas = [1 / (2 + v * mass) if v > 0 else 0.0 for v in g]
                factors = [sum(alpha * max(v, 0.0) for alpha, v in zip(alphas, g, strict=True))] * positions
            elif weighting == "mean":
                factors = [sum(g) / positions] * positions
            else:
                factors = g
            for i in range(positions):
                maps[n, i] += factors[i] * activations[n, k, i]
    return maps


def equivariant_and_static(maps: np.ndarray, shifts: list[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """The two parts of maps (S, *positions) of one image under S shifts: every position of every map is an equation."""
    positions = maps.shape[1:]
    cells = list(np.ndindex(*positions))
    number = {cell: i for i, cell in enumerate(cells)}
    rows, values = [], []
    for map_, shift in zip(maps, shifts, strict=True):
        for cell in cells:
            origin = [p - s for p, s in zip(cell, shift, strict=True)]
            if any(not -1e-9 <= o <= n - 1 + 1e-9 for o, n in zip(origin, positions, strict=True)):
                continue
            row = np.zeros(2 * len(cells))
            for other in cells:
                row[number[other]] = math.prod(max(0.0, 1 - abs(o - q)) for o, q in zip(origin, other, strict=True))
            row[len(cells) + number[cell]] = 1
            rows.append(row)
            values.append(map_[cell])
    # The static part sums to zero.
    rows.append(np.r_[np.zeros(len(cells)), np.ones(len(cells))])
    solution = np.linalg.lstsq(np.array(rows), np.array([*values, 0.0]), rcond=None)[0]
    return tuple(part.reshape(positions) for part in np.split(solution, 2))


def audit_measures(
    maps: np.ndarray, covers: np.ndarray, falls: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """The measures of the audit and their standard errors by the jackknife over images.

    Shapes: maps (N, 7, 7), covers (N, T, K, 7, 7), falls (N, T, K).
    """

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])

    def unit(a: np.ndarray) -> np.ndarray:
        flat = a.ravel() - a.mean()
        return flat / np.linalg.norm(flat)

    def half(values: np.ndarray, cover: np.ndarray, which: int) -> np.ndarray:
        """Paint the falls per cell of every second tiling, and average them."""
        painted = np.zeros(cover.shape[2:])
        for tiling in range(which, len(values), 2):
            for value, its_cover in zip(values[tiling], cover[tiling], strict=True):
                painted += its_cover * value / its_cover.sum()
        return painted

    predicted = np.array(
        [[[(c * m).sum() for c in tiling] for tiling in cover] for m, cover in zip(maps, covers, strict=True)]
    )
    seen = [[half(p, c, which) for p, c in zip(predicted, covers, strict=True)] for which in (0, 1)]
    occlusion = [[half(f, c, which) for f, c in zip(falls, covers, strict=True)] for which in (0, 1)]
    both = [unit(unit(a) + unit(b)) for a, b in zip(*occlusion, strict=True)]

    def values(kept: list[int]) -> dict[str, float]:
        reliability = float(np.mean([correlation(occlusion[0][n], occlusion[1][n]) for n in kept]))
        of_maps = np.mean([correlation(seen[0][n], seen[1][n]) for n in kept])
        crossed = [correlation(seen[i][n], occlusion[1 - i][n]) for n in kept for i in (0, 1)]
        noise = math.sqrt(2 * reliability / (1 + reliability))
        excess, deficit = [], []
        for n in kept:
            others = [j for j in kept if j != n]
            of_others = sum(unit(maps[j]) for j in others)
            occlusion_of_others = sum(both[j] for j in others)
            own = correlation(maps[n], both[n]) - np.mean([correlation(maps[j], both[n]) for j in others])
            excess.append(correlation(maps[n], of_others) - (correlation(both[n], of_others) + own) / noise)
            deficit.append(
                correlation(both[n], occlusion_of_others) / noise - correlation(maps[n], occlusion_of_others)
            )
        return {
            "agreement": float(np.mean([correlation(maps[n], both[n]) for n in kept])) / noise,
            "prediction": float(np.mean(crossed)) / math.sqrt(reliability * of_maps),
            "slope": float((predicted[kept] * falls[kept]).sum() / (predicted[kept] ** 2).sum()),
            "excess": float(np.mean(excess)),
            "deficit": float(np.mean(deficit)),
            "reliability": reliability,
        }

    everyone = list(range(len(maps)))
    found = values(everyone)
    without = [values([n for n in everyone if n != out]) for out in everyone]
    errors = {name: math.sqrt((len(maps) - 1) * np.var([its[name] for its in without])) for name in found}
    return found, errors


def occlusion_falls(
    net: Net,
    x: Tensor,
    targets: list[int],
    rivals: list[list[int]],
    windows: np.ndarray,
    grid: tuple[int, int],
    fill: object,
) -> tuple[np.ndarray, np.ndarray]:
    """How far D (logsumexp) falls for each image and window, and what share of each position a window hides."""
    net = copy.deepcopy(net).double()
    height, width = x.shape[2:]
    falls, covers = np.zeros((len(x), len(windows))), np.zeros((len(windows), grid[0] * grid[1]))
    for k, ((top, bottom), (left, right)) in enumerate(windows):
        rows = range(round(top * height), round(bottom * height))
        columns = range(round(left * width), round(right * width))
        for row in rows:
            for column in columns:
                # A pixel lies within one position: the image's size is a multiple of the grid's, or the share is split.
                for i in range(grid[0]):
                    for j in range(grid[1]):
                        shares = [
                            max(0.0, min((pixel + 1) / size, (cell + 1) / cells) - max(pixel / size, cell / cells))
                            * cells
                            for pixel, size, cell, cells in ((row, height, i, grid[0]), (column, width, j, grid[1]))
                        ]
                        covers[k, i * grid[1] + j] += shares[0] * shares[1]
        for n, image in enumerate(x.double()):
            hidden = image.clone()
            color = image.mean(dim=(1, 2)) if isinstance(fill, str) else fill.double().reshape(3)
            for row in rows:
                for column in columns:
                    hidden[:, row, column] = color
            with torch.no_grad():
                before, after = (net(each[None])[0].tolist() for each in (image, hidden))
            falls[n, k] = score(before, targets[n], rivals[n], "logsumexp") - score(
                after, targets[n], rivals[n], "logsumexp"
            )
    return falls, covers


def calibrated(maps: np.ndarray, covers: np.ndarray, falls: np.ndarray, ridge: float) -> np.ndarray:
    """M' = M + W^T (W W^T + ridge I)^-1 (f - W M), one map at a time."""
    inverse = np.linalg.inv(covers @ covers.T + ridge * np.eye(len(covers)))
    return np.stack([m + covers.T @ inverse @ (f - covers @ m) for m, f in zip(maps, falls, strict=True)])


def left_over(covers: np.ndarray, ridge: float) -> np.ndarray:
    """I - H: what penalised least squares leave of the residual f - W M, (K, K)."""
    gram = covers @ covers.T
    return np.eye(len(covers)) - gram @ np.linalg.inv(gram + ridge * np.eye(len(covers)))


def cross_validated_ridge(residual: np.ndarray, covers: np.ndarray) -> float:
    """The ridge with the least |(I - H) r|^2 / trace(I - H)^2, of 21 from 0.001 to 100 mean eigenvalues of W W^T."""
    mean = np.trace(covers @ covers.T) / len(covers)
    ridges = [mean * 10 ** (step / 4) for step in range(-12, 9)]

    def error(ridge: float) -> float:
        left = left_over(covers, ridge)
        return float(np.square(left @ residual).sum() / np.trace(left) ** 2)

    return min(ridges, key=error)


def standard_error(covers: np.ndarray, ridge: float, noise: float) -> np.ndarray:
    """Of each position, if every fall has this variance: sqrt(noise diag(A A^T)), A = W^T (W W^T + ridge I)^-1."""
    a = covers.T @ np.linalg.inv(covers @ covers.T + ridge * np.eye(len(covers)))
    return np.sqrt(noise * np.diag(a @ a.T))
