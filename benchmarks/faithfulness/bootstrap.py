"""Bootstrapped intervals over images, within each trained model and with all views of a photograph together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
_BLOCK = 50
_LEVEL = 0.95
_FEWEST = 5
"""With fewer clusters there is no interval."""


class Estimate(NamedTuple):
    """A number with its 95 % interval. NaN stands for what cannot be estimated."""

    value: float
    lower: float
    upper: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.lower > 0 or self.upper < 0


class Bootstrap:
    """The percentile bootstrap, with the same draws for everything that is estimated from one set of images.

    Clusters are drawn with replacement within their stratum. Strata are the trained models, so an interval is for
    further images of these models. A cluster is an image, or all views of one photograph. ``scipy.stats.bootstrap``
    has neither strata nor clusters, and draws anew for each statistic.

    Args:
        strata: the stratum of each image, (N,).
        clusters: the cluster of each image within its stratum, (N,).
        seed: of the draws.
    """

    def __init__(self, strata: NDArray[np.int64], clusters: NDArray[np.int64], seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.clusters = np.unique(np.stack([strata, clusters]), axis=1, return_inverse=True)[1].reshape(-1)
        self.weights = np.zeros((DRAWS, len(strata)), dtype=np.uint16)
        """How often each draw contains each image."""
        for stratum in np.unique(strata):
            rows = np.flatnonzero(strata == stratum)
            names, cluster = np.unique(clusters[rows], return_inverse=True)
            for draw in self.weights:
                drawn = rng.integers(len(names), size=len(names))
                draw[rows] = np.bincount(drawn, minlength=len(names))[cluster]

    def mean(self, values: NDArray[np.float64]) -> Estimate:
        """Estimate the mean of values (N,). NaNs are left out."""
        known = np.isfinite(values)
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        draws = [block @ values[known] / block.sum(axis=1) for block in self._blocks(known)]
        return _estimate(float(values[known].mean()), draws)

    def median(self, values: NDArray[np.float64]) -> Estimate:
        """Estimate the lower median of values (N,). NaNs are left out."""
        known = np.isfinite(values)
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        order = values[known].argsort()
        ranked = values[known][order]
        below = [block[:, order].cumsum(axis=1) for block in self._blocks(known)]
        draws = [ranked[(2 * counts >= counts[:, -1:]).argmax(axis=1)] for counts in below]
        return _estimate(float(ranked[(len(ranked) - 1) // 2]), draws)

    def of_totals(
        self, rows: NDArray[np.float64], statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> Estimate:
        """Estimate a statistic of totals, such as a slope. Rows with NaNs are left out.

        Args:
            rows: what each image adds to the totals, (N, S).
            statistic: from totals (..., S) to the statistic (...).
        """
        known: NDArray[np.bool_] = np.isfinite(rows.sum(axis=1))
        if not known.any():
            return Estimate(np.nan, np.nan, np.nan)
        draws = [statistic(block @ rows[known]) for block in self._blocks(known)]
        return _estimate(float(statistic(rows[known].sum(axis=0))), draws)

    def _blocks(self, known: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
        """Yield the weights of the images with a known value, a few draws at a time; nothing for too few clusters."""
        if len(np.unique(self.clusters[known])) < _FEWEST:
            return
        for start in range(0, DRAWS, _BLOCK):
            block = self.weights[start : start + _BLOCK, known].astype(np.float64)
            # A draw may contain none of them.
            yield block[block.any(axis=1)]


def _estimate(value: float, draws: list[NDArray[np.float64]]) -> Estimate:
    if not draws:
        return Estimate(value, np.nan, np.nan)
    lower, upper = np.quantile(np.concatenate(draws), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Estimate(value, float(lower), float(upper))
