"""The named tuples that attribution methods return."""

from __future__ import annotations

from typing import Any, Generic, TypeAlias, Union, cast

import torch
from torch import Tensor
from typing_extensions import NamedTuple, TypeVar

Maps: TypeAlias = Union[Tensor, tuple[Tensor, ...]]
"""A map ``(N, 1, *positions)``, or a tuple of maps if the layer returns several tensors."""

MapsT = TypeVar("MapsT", default=Tensor)
"""A tensor of maps or, for a list of layers, a list of tensors."""

_SHOWN = 8
"""The number of examples that a ``repr`` lists."""


class Explanation(NamedTuple, Generic[MapsT]):
    """What :meth:`captum_diffcam.LayerDiffGradCam.explain` returns for N examples, from one forward pass.

    Unpack it with a star, because later versions may append fields: ``maps, target, logits, *_ = cam.explain(images)``.
    """

    maps: MapsT
    r"""(N, 1, \*positions), the maps that :meth:`~captum_diffcam.LayerDiffGradCam.attribute` returns. If the
    attribution has a list of layers, a list with an entry per layer."""

    target: Tensor
    """(N,) int64, the classes that are explained. For a model with one logit per example, class 1 is a positive logit
    and class 0 a negative one."""

    logits: Tensor
    """(N, C, ...), the output of the model, without a graph."""

    score: Tensor
    """(N,), the contrast score D of the target in nats, without a graph. If D is positive, the model prefers the target
    to its rivals."""

    contrast_mask: Tensor
    """(N, C) boolean, the contrast set of each example. It is True for the rivals of its target. For a model with one
    logit per example, (N, 2)."""

    @property
    def remainder(self) -> MapsT:
        """(N,), the part of the score that the map leaves out: ``score`` minus the sum of the map, in nats.

        It is meant for maps of :class:`~captum_diffcam.LayerDiffHiResCam`. If only pooling or flattening and a linear
        layer follow the explained layer, it is known beforehand: the target's bias minus the weighted mean of its
        rivals' biases. Under logsumexp, the entropy of the rivals' shares is also subtracted. It then says nothing
        about the image's positions. Otherwise it shows how far the map is from adding up.

        The sum runs over everything that the map has for an example: positions, channels, and the tensors of a layer
        that returns several, which form the score together. Tokens that have no position, such as a class token, are
        not in the map; their part is in the remainder. So is the negative part of a map with
        ``relu_attributions=True``. If the attribution has a list of layers, each of which explains the whole score, it
        is a list with an entry per layer. Maps of DiffGradCAM++ are not in nats, so their remainder has no meaning.
        """
        if isinstance(self.maps, list):
            return cast(MapsT, [self.score - _sum_of_maps(of_layer, self.score) for of_layer in self.maps])
        return cast(MapsT, self.score - _sum_of_maps(self.maps, self.score))

    def __repr__(self) -> str:
        return _compact_repr(self, values=("target", "score"))


class RivalMaps(NamedTuple, Generic[MapsT]):
    r"""What :meth:`captum_diffcam.LayerDiffGradCam.attribute_rivals` returns for N examples with up to K rivals each.

    If an example has fewer than K rivals, the rest of its row holds zero maps, class -1 and weight 0. Classes with the
    logit -inf are never rivals.
    """

    maps: MapsT
    r"""(N, K, 1, \*positions), a map per rival. If the layer returns several tensors, a tuple of such maps. If the
    attribution has a list of layers, a list with an entry per layer."""

    rivals: Tensor
    """(N, K) int64, the classes of the rivals, the strongest first."""

    weights: Tensor
    """(N, K), the weights of the rivals in the logsumexp contrast, the softmax of their logits."""

    target: Tensor
    """(N,) int64, the classes that are explained."""

    logits: Tensor
    """(N, C, ...), the output of the model, without a graph."""

    def __repr__(self) -> str:
        return _compact_repr(self, values=("target", "rivals"))


class EquivariantSplit(NamedTuple):
    """What :meth:`captum_diffcam.EquivariantPart.decompose` returns for N examples: the two parts of a map."""

    equivariant: Tensor
    r"""(N, 1, \*positions), the equivariant part. It moves with the image. It is the attribution."""

    static: Tensor
    r"""(N, 1, \*positions), the static part. It stays where it is. Its mean over positions is zero."""

    static_share: Tensor
    """(N,), the static part's share of the variance of both parts, from 0 to 1."""

    def __repr__(self) -> str:
        return _compact_repr(self, values=("static_share",))


class Calibration(NamedTuple, Generic[MapsT]):
    """What :meth:`captum_diffcam.CalibratedMap.calibrate` returns for N examples, K windows.

    Where the attribution has a list of layers, ``maps``, ``standard_error`` and ``residual`` are lists.
    """

    maps: MapsT
    r"""(N, 1, \*positions), the calibrated map, in units of the score."""

    standard_error: MapsT
    r"""(N, 1, \*positions), the standard error of each position, as far as it comes from the measurements' noise."""

    residual: MapsT
    """(N, K), the measured falls minus the map's sums over the windows: how far the map was from the measurements."""

    falls: Tensor
    """(N, K), how far the score falls when each window is hidden."""

    score: Tensor
    """(N,), the score of the whole image."""

    windows: Tensor
    """(K, dimensions, 2), start and end of each window along each dimension, as shares of the side."""

    def __repr__(self) -> str:
        return _compact_repr(self, values=("score",))


def _sum_of_maps(maps: Any, score: Tensor) -> Tensor:
    """Return the sum of the maps (N, ...), or of a tuple of them, as (N,) and on the device of the score."""
    tensors = maps if isinstance(maps, tuple) else (maps,)
    sums = [single.detach().flatten(1).sum(dim=1).to(score.device) for single in tensors]
    return torch.stack(sums).sum(dim=0)


def _compact_repr(result: NamedTuple, values: tuple[str, ...]) -> str:
    """Return the ``repr`` of a result: the numbers of the fields in ``values``, the shapes of all others."""
    fields = (f"{name}={(_numbers if name in values else _shape)(field)}" for name, field in result._asdict().items())
    return f"{type(result).__name__}({', '.join(fields)})"


def _shape(field: Any) -> str:
    """Return the shape of a tensor, or the shapes of the tensors in a list or tuple."""
    if isinstance(field, (list, tuple)):
        return f"[{', '.join(map(_shape, field))}]"
    return str(tuple(field.shape)) if isinstance(field, Tensor) else repr(field)


def _numbers(field: Any) -> str:
    """Return the numbers of the first examples."""
    if not isinstance(field, Tensor):
        return repr(field)
    rest = ", ..." if len(field) > _SHOWN else ""
    return f"[{', '.join(map(_short, field[:_SHOWN].tolist()))}{rest}]"


def _short(number: Any) -> str:
    if isinstance(number, list):
        return f"[{', '.join(map(_short, number))}]"
    return f"{number:.3g}" if isinstance(number, float) else str(number)
