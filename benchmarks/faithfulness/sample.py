"""All images of one kind with their numbers, and estimates over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmarks.faithfulness.bootstrap import Bootstrap, Estimate

Array: TypeAlias = NDArray[np.float64]
Among: TypeAlias = NDArray[np.bool_] | None
"""Which images count."""


@dataclass(frozen=True)
class Sample:
    """All images of one kind, over the models that were trained for it."""

    study: str
    name: str
    numbers: Mapping[str, Array]
    strata: NDArray[np.int64]
    bootstrap: Bootstrap

    @classmethod
    def of(cls, study: str, name: str, parts: Sequence[tuple[int, Mapping[str, Array]]], seed: int) -> Sample:
        """Join chunks in their order, each with its stratum."""
        full = [(stratum, numbers) for stratum, numbers in parts if len(numbers["cluster"])]
        names = full[0][1] if full else {"cluster": np.empty(0)}
        joined = {name: np.concatenate([numbers[name] for _, numbers in full] or [np.empty(0)]) for name in names}
        sizes = [len(numbers["cluster"]) for _, numbers in full]
        strata = np.repeat(np.array([stratum for stratum, _ in full], dtype=np.int64), sizes)
        return cls(study, name, joined, strata, Bootstrap(strata, joined["cluster"], seed))

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.numbers["cluster"])

    def description(self) -> dict[str, Any]:
        """Return study, subject, number of images, and accuracy."""
        right = self.numbers.get("right", np.full(self.count, np.nan))
        accuracy = self.bootstrap.mean(right)._asdict()
        return {"study": self.study, "subject": self.name, "images": self.count, "accuracy": accuracy}

    def by_model(self, values: Array) -> dict[str, list[float]]:
        """Return quartiles and mean of the values for each model, without NaNs."""
        rows = {}
        for stratum in np.unique(self.strata):
            known = values[(self.strata == stratum) & np.isfinite(values)]
            if len(known):
                rows[str(stratum)] = [*np.quantile(known, [0.25, 0.5, 0.75]).tolist(), float(known.mean())]
        return rows

    def methods(self, measure: str) -> list[str]:
        """Return the methods with this measure."""
        return [key.partition("|")[2] for key in self.numbers if key.startswith(f"{measure}|")]

    def mean(self, measure: str, method: str, among: Among = None) -> Estimate:
        """Estimate the mean, among all or some images."""
        return self.bootstrap.mean(kept(self.numbers[f"{measure}|{method}"], among))

    def difference(self, measure: str, method: str, against: str, among: Among = None) -> Estimate:
        """Estimate the mean difference of two methods on the same image."""
        both = self.numbers[f"{measure}|{method}"] - self.numbers[f"{measure}|{against}"]
        return self.bootstrap.mean(kept(both, among))


def kept(values: Array, among: Among) -> Array:
    """Return the values of some images, with NaN for the others."""
    return values if among is None else np.where(among, values, np.nan)
