"""Confidence intervals by resampling images, within each trained model and with all views of a photograph together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
_BLOCK = 50
_LEVEL = 0.95
_FEWEST = 5
"""Fewer clusters than this are no sample to draw from: no interval."""


class Estimate(NamedTuple):
    """A number with its 95 % interval. What cannot be estimated is not a number."""

    value: float
    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.lower > 0 or self.upper < 0


class Bootstrap:
    """The percentile bootstrap, with the same draws for whatever is estimated from one set of images.

    Clusters are drawn with replacement within their stratum, as many as it has. Strata are the trained models, so that
    an interval speaks of further images for these models; a cluster is an image, or all views of one photograph.

    Args:
        strata: (N,), the stratum of each image.
        clusters: (N,), its cluster, of that name within its stratum.
        seed: of the draws.
    """

    def __init__(self, strata: NDArray[np.int64], clusters: NDArray[np.int64], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.clusters = np.unique(np.stack([strata, clusters]), axis=1, return_inverse=True)[1].reshape(-1)
        self.weights = np.zeros((DRAWS, len(strata)), dtype=np.uint16)
        """How often each image is in each draw."""
        for stratum in np.unique(strata):
            rows = np.flatnonzero(strata == stratum)
            names, cluster = np.unique(clusters[rows], return_inverse=True)
            for draw in self.weights:
                drawn = rng.integers(len(names), size=len(names))
                draw[rows] = np.bincount(drawn, minlength=len(names))[cluster]

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """The mean of the values (N,) that are numbers."""
        known = np.isfinite(values)
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        draws = [block @ values[known] / block.sum(axis=1) for block in self._blocks(known)]
        return _estimate(float(values[known].mean()), draws)

    def median(self, values: NDArray[np.float64]) -> Estimate:
        """The median of the values (N,) that are numbers: the smallest that at least half of them do not exceed."""
        known = np.isfinite(values)
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        order = values[known].argsort()
        ranked = values[known][order]
        below = [block[:, order].cumsum(axis=1) for block in self._blocks(known)]
        draws = [ranked[(2 * counts >= counts[:, -1:]).argmax(axis=1)] for counts in below]
        return _estimate(float(ranked[(len(ranked) - 1) // 2]), draws)

    def _blocks(self, known: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
        """The weights of the images that a number is known of, a few draws at a time; none for too few clusters."""
        if len(np.unique(self.clusters[known])) < _FEWEST:
            return
        for start in range(0, DRAWS, _BLOCK):
            block = self.weights[start : start + _BLOCK, known].astype(np.float64)
            # A draw may have left out all of them.
            yield block[block.any(axis=1)]


def _estimate(value: float, draws: list[NDArray[np.float64]]) -> Estimate:
    if not draws:
        return Estimate(value, np.nan, np.nan)
    lower, upper = np.quantile(np.concatenate(draws), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, float(lower), float(upper))
