"""What the attribution classes return beside a bare map."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias, Union

from torch import Tensor

Maps: TypeAlias = Union[Tensor, tuple[Tensor, ...]]
"""A map ``(N, 1, *positions)``; a tuple of them where the layer has several tensors."""


class Explanation(NamedTuple):
    """What :meth:`captum_diffcam.LayerDiffGradCam.explain` returns for N examples: decision and map of one forward."""

    maps: Maps | list[Maps]
    r"""(N, 1, \*positions), as :meth:`~captum_diffcam.LayerDiffGradCam.attribute` gives them; a list of them where
    several layers are explained."""

    target: Tensor
    """(N,) int64, the classes that are explained."""

    logits: Tensor
    """(N, C, ...), what the model returned, without a graph."""


class RivalMaps(NamedTuple):
    r"""What :meth:`captum_diffcam.LayerDiffGradCam.attribute_rivals` returns, for N examples and up to K rivals each.

    An example with fewer rivals is filled up with zero maps of class -1 and weight 0. Classes with the logit -inf are
    no rivals.
    """

    maps: Maps | list[Maps]
    r"""(N, K, 1, \*positions), a pairwise map per rival; a tuple of them where the layer has several tensors, a list
    where several layers are explained."""

    rivals: Tensor
    """(N, K) int64, the rivals' classes, the strongest first."""

    weights: Tensor
    """(N, K), the rivals' shares in the logsumexp contrast."""

    target: Tensor
    """(N,) int64, the classes that are explained."""

    logits: Tensor
    """(N, C, ...), what the model returned, without a graph."""


class EquivariantSplit(NamedTuple):
    """What :meth:`captum_diffcam.EquivariantPart.split` returns for N examples: a map in two parts."""

    maps: Tensor
    r"""(N, 1, \*positions), the part that moves with the image, which is the attribution."""

    fixed: Tensor
    r"""(N, 1, \*positions), the part that stays, with a mean of zero."""

    fixed_share: Tensor
    """(N,), how much of the variance over positions of the two parts is that of the fixed one, from 0 to 1."""
