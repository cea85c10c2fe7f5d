"""Confidence intervals by resampling images, within each trained model and with all views of a photograph together."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
_BLOCK = 50
_LEVEL = 0.95


class Estimate(NamedTuple):
    """A number with its 95 % interval; all three are not a number where there is nothing to estimate from."""

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
        values, weights = self._numbers(values)
        if not len(values):
            return Estimate(np.nan, np.nan, np.nan)
        draws = np.concatenate([block @ values / block.sum(axis=1) for block in _blocks(weights)])
        return _estimate(float(values.mean()), draws)

    def median(self, values: NDArray[np.float64]) -> Estimate:
        """The median of the values (N,) that are numbers: the smallest that at least half of them do not exceed."""
        values, weights = self._numbers(values)
        if not len(values):
            return Estimate(np.nan, np.nan, np.nan)
        order = values.argsort()
        values = values[order]
        draws = []
        for block in _blocks(weights[:, order]):
            below = block.cumsum(axis=1)
            draws.append(values[(2 * below >= below[:, -1:]).argmax(axis=1)])
        return _estimate(float(values[(len(values) - 1) // 2]), np.concatenate(draws))

    def _numbers(self, values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.uint16]]:
        known = np.isfinite(values)
        weights = self.weights[:, known]
        # A draw may have none of the few images that a number is known of.
        return values[known], weights[weights.any(axis=1)]


def _blocks(weights: NDArray[np.uint16]) -> list[NDArray[np.float64]]:
    """A few draws at a time, because a product needs them as floats."""
    return [weights[start : start + _BLOCK].astype(np.float64) for start in range(0, len(weights), _BLOCK)]


def _estimate(value: float, draws: NDArray[np.float64]) -> Estimate:
    lower, upper = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, float(lower), float(upper))
