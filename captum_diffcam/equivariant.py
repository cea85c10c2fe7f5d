"""The part of a layer's map that moves with the image, and the part that stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from itertools import product
from typing import Any, Literal, TypeAlias, get_args

import torch
from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_count, as_index, as_inputs, log_usage
from captum_diffcam._input_axes import (
    ChannelDim,
    channel_dims_of,
    channels_back,
    channels_first,
    check_channel_dim,
    find_positioned_inputs,
)
from captum_diffcam._resolved_call import ResolvedCall
from captum_diffcam.axis_tracker import AxisTracker
from captum_diffcam.logits import Target
from captum_diffcam.results import EquivariantSplit

Padding: TypeAlias = Literal["reflect", "replicate", "circular"]
"""How the border of a shifted image is filled: mirrored, with the last row, or with what left on the other side."""

# The smallest diagonal entry of a Cholesky factor that still counts as regular. Of shifts that determine the
# decomposition it is above 0.1, of shifts that do not it is rounding noise, about 1e-8.
_SINGULAR = 1e-5

# Shifts are divisions of pixels by cells, so a cell on the border may lie beyond it by a rounding error.
_ROUNDING = 1e-6


class EquivariantPart(LayerAttribution):
    r"""Keep the part of a map that moves with the image.

    Evidence moves when the image moves. A hoax that is drawn in a fixed place of the map does not.

    The image is shifted by cells of the layer, filled in at the border, and explained again. The maps :math:`M_s` of
    its shifts :math:`s`, each divided by its norm, are decomposed by least squares,

    .. math:: \frac{M_s(p)}{\lVert M_s \rVert} \approx e(p - s) + f(p) ,

    into an equivariant part :math:`e` and a static part :math:`f` with a mean of zero. The attribution is
    :math:`\lVert M_0 \rVert \, e`, on the scale of the map. See
    :func:`~captum_diffcam.equivariant.decompose_maps`. Every shift is explained for the class and the contrast set of
    the image that is not shifted.

    This does not prove that a map is right. A hoax that follows the object, or a map that is itself shifted with the
    image, remains in the equivariant part. Where objects fill the image, a shift shows little that is new and the part
    helps less. A clean model that treats the border or the centre of the image in its own way has a static part, too,
    so a large static share alone does not show manipulation.

    Source: this library.

    Args:
        attribution: a layer attribution whose maps have shape ``(N, 1, *positions)``, such as
            :class:`captum.attr.LayerGradCam` or :class:`LayerDiffGradCam`.
        shifts: an integer r for all shifts of up to r cells along each dimension, :math:`(2r + 1)^2` for images. Or a
            list of shifts in cells, each with one number per dimension; fractions of a cell are allowed. More shifts
            take longer and average more.
        padding: how the border is filled, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        channel_dim: the dimension of the inputs that holds their channels, as in :class:`InputAttribution`. The others
            are shifted.

    Example:
        >>> import torch
        >>> from captum_diffcam import EquivariantPart, LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3, stride=4)
        >>> pool = torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = EquivariantPart(LayerDiffGradCam(model, model[1]), shifts=1)
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        attribution: LayerAttribution,
        shifts: int | Sequence[Sequence[float]] = 2,
        padding: Padding = "reflect",
        *,
        channel_dim: ChannelDim | Sequence[ChannelDim] = "auto",
    ) -> None:
        if not isinstance(attribution, LayerAttribution):
            raise TypeError(f"`attribution` must be a LayerAttribution, got {type(attribution).__name__}.")
        if isinstance(shifts, (list, tuple)):
            if not shifts or not all(isinstance(shift, (list, tuple)) for shift in shifts):
                raise ValueError(f"`shifts` must be {_SHIFTS}, got {shifts!r}.")
        elif (shifts := as_index("shifts", shifts, _SHIFTS)) < 1:
            raise ValueError(f"`shifts` must be {_SHIFTS}, got {shifts}.")
        check_padding(padding)
        layer: Module = attribution.layer
        LayerAttribution.__init__(self, attribution.forward_func, layer, getattr(attribution, "device_ids", None))
        self.attribution = attribution
        self.shifts = shifts
        self.padding: Padding = padding
        self.channel_dim = check_channel_dim(channel_dim)

    @log_usage
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        **kwargs: Any,
    ) -> Tensor:
        r"""Return the equivariant part of the map of the wrapped attribution.

        Args:
            inputs: the model's input, or a tuple of inputs. Inputs that have the dimensions of the map are shifted,
                each by the same share of its size. Other inputs, such as a table beside an image, are not.
            target: the class to explain, in any form of :meth:`LayerDiffGradCam.attribute`. A callable such as
                :func:`predicted` is called once, with the logits of the inputs that are not shifted.
            additional_forward_args: further arguments of the model. They are not shifted.
            **kwargs: further arguments of :meth:`decompose`.

        Returns:
            ``(N, 1, *positions)``, without a graph unless ``grad_kwargs={"create_graph": True}`` is given.

        Raises:
            TypeError, ValueError, IndexError: an argument is invalid. The message names it.
        """
        return self.decompose(inputs, target, additional_forward_args, **kwargs).equivariant

    def decompose(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        shifts_per_eval: int = 1,
        show_progress: bool = False,
        relu_attributions: bool = False,
        **kwargs: Any,
    ) -> EquivariantSplit:
        """Return both parts of the map, and the share of the static one.

        Args:
            inputs: as in :meth:`attribute`.
            target: the class to explain, as in :meth:`attribute`.
            additional_forward_args: further arguments of the model, as in :meth:`attribute`.
            shifts_per_eval: the number of shifts in one forward pass. Tensors among the additional arguments, and
                targets per example, are then repeated in place, as Captum's tools do.
            show_progress: show a progress bar.
            relu_attributions: keep only the positive values of the equivariant part. The maps that it is made from are
                not rectified.
            **kwargs: further arguments of the wrapped attribution's ``attribute``.

        Returns:
            EquivariantSplit: ``equivariant`` and ``static``, both ``(N, 1, *positions)``, and ``static_share`` (N,),
            the variance of the static part over the sum of both variances.

        Raises:
            TypeError, ValueError, IndexError: an argument is invalid. The message names it.
        """
        per_eval = as_count("shifts_per_eval", shifts_per_eval)
        tensors = as_inputs(inputs)
        call = ResolvedCall(
            self.attribution, tensors, isinstance(inputs, tuple), target, additional_forward_args, kwargs
        )
        channel_dims = channel_dims_of(tensors, self.channel_dim)
        with AxisTracker() as tracker:
            tracker.start(tensors)
            maps = [call.maps(tensors, 1)]
        grid = maps[0].shape[2:]
        shifts = self._list_shifts(len(grid))
        axes = tracker.axes_of(maps[0])
        # A table beside an image is not shifted.
        moving = find_positioned_inputs(tensors, grid, channel_dims, axes)
        with tqdm(total=len(shifts), desc="shift", leave=False, disable=not show_progress) as bar:
            for start in range(1, len(shifts), per_eval):
                bar.update(bar.n == 0)
                batch = shifts[start : start + per_eval]
                shifted = call.maps(
                    tuple(
                        self._shift(tensor, batch, grid, moving[i])
                        if i in moving
                        else tensor.repeat_interleave(len(batch), dim=0)
                        for i, tensor in enumerate(tensors)
                    ),
                    len(batch),
                )
                maps += shifted.reshape(len(tensors[0]), len(batch), 1, *grid).unbind(dim=1)
                bar.update(len(batch))
        first, dim = next(iter(moving.items()))
        rounded = [rounded_shift(shift, grid, channels_first(tensors[first], dim).shape[2:]) for shift in shifts]
        flat = torch.stack(maps).flatten(2)
        norm = flat.norm(dim=2, keepdim=True)
        normalized = (flat / norm.where(norm > 0, 1)).reshape(*flat.shape[:2], *grid)
        equivariant, static = decompose_maps(normalized, rounded)
        variance, static_variance = (part.flatten(1).var(dim=1, correction=0) for part in (equivariant, static))
        total = variance + static_variance
        scale = norm[0].reshape(-1, *[1] * len(grid))
        equivariant = (equivariant * scale)[:, None]
        return EquivariantSplit(
            equivariant.relu() if relu_attributions else equivariant,
            (static * scale)[:, None],
            static_variance / total.where(total > 0, 1),
        )

    def _list_shifts(self, dimensions: int) -> list[tuple[float, ...]]:
        """Return the shifts in cells. The first one is no shift."""
        if isinstance(self.shifts, int):
            return list(all_shifts(self.shifts, dimensions))
        shifts = [tuple(shift) for shift in self.shifts]
        return [(0.0,) * dimensions, *(shift for shift in shifts if any(shift))]

    def _shift(
        self, tensor: Tensor, shifts: Sequence[Sequence[float]], grid: Sequence[int], channel_dim: int | None
    ) -> Tensor:
        """Return an input under several shifts, (N * shifts, ...). Those of one example are neighbours."""
        images = channels_first(tensor, channel_dim)
        shifted = [channels_back(shift_images(images, shift, grid, self.padding), channel_dim) for shift in shifts]
        return torch.stack(shifted, dim=1).flatten(0, 1)


_SHIFTS = "an integer >= 1 or a list of shifts with one number of cells per dimension"


def all_shifts(reach: int, dimensions: int = 2) -> list[tuple[int, ...]]:
    """Return all shifts of up to ``reach`` cells along each dimension. The first one is no shift.

    Args:
        reach: the largest shift along a dimension, in cells.
        dimensions: the number of dimensions, 2 for images.

    Returns:
        ``(2 * reach + 1) ** dimensions`` shifts.

    Example:
        >>> from captum_diffcam.equivariant import all_shifts
        >>> len(all_shifts(2)), all_shifts(1)[:3]
        (25, [(0, 0), (-1, -1), (-1, 0)])
    """
    shifts = list(product(range(-reach, reach + 1), repeat=dimensions))
    return sorted(shifts, key=any)


def check_padding(padding: str) -> None:
    """Raise a ValueError where ``padding`` is no :data:`Padding`."""
    if padding not in get_args(Padding):
        raise ValueError(f"`padding` must be one of {', '.join(map(repr, get_args(Padding)))}, got {padding!r}.")


def shift_images(images: Tensor, shift: Sequence[float], grid: Sequence[int], padding: Padding = "reflect") -> Tensor:
    """Shift images by cells of a grid, rounded to whole pixels, and fill the border from the image itself.

    Args:
        images: ``(N, channels, *size)``, or any other tensor whose last dimensions are the size.
        shift: the number of cells along each dimension, fractions included. Positive is down and to the right.
        grid: the number of cells along each dimension of the size, such as the positions of a layer.
        padding: ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Returns:
        The images, of the same shape. Cell ``p`` shows what was at ``p - shift``.

    Raises:
        ValueError: the shift does not have one number per dimension or moves the image out of the frame, or
            ``padding`` is unknown.

    Example:
        >>> import torch
        >>> from captum_diffcam.equivariant import shift_images
        >>> row = torch.arange(8.0).reshape(1, 1, 1, 8)
        >>> shift_images(row, (0, 1), (1, 4)).flatten()
        tensor([2., 1., 0., 1., 2., 3., 4., 5.])
    """
    check_padding(padding)
    pixels = shift_in_pixels(shift, grid, images.shape[-len(grid) :])
    for dimension, offset in enumerate(pixels, start=images.ndim - len(grid)):
        if offset:
            source = _source_pixels(images.shape[dimension], offset, padding).to(images.device)
            images = images.index_select(dimension, source)
    return images


def shift_in_pixels(shift: Sequence[float], grid: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """Return by how many whole pixels a shift in cells moves an image of that size.

    Raises:
        ValueError: as :func:`shift_images`.
    """
    if not 0 < len(shift) == len(grid) == len(size):
        raise ValueError(
            f"`shift` must have one number for each dimension of the grid {tuple(grid)}, got {tuple(shift)}."
        )
    pixels = tuple(round(by * length / cells) for by, cells, length in zip(shift, grid, size, strict=True))
    if any(abs(offset) >= length for offset, length in zip(pixels, size, strict=True)):
        raise ValueError(f"`shift` must be smaller than the grid {tuple(grid)}, got {tuple(shift)}.")
    return pixels


def rounded_shift(shift: Sequence[float], grid: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    """Return the shift in cells that results from rounding to whole pixels of an image of that size.

    Raises:
        ValueError: as :func:`shift_images`.
    """
    pixels = shift_in_pixels(shift, grid, size)
    return tuple(offset * cells / length for offset, cells, length in zip(pixels, grid, size, strict=True))


def _source_pixels(length: int, offset: int, padding: Padding) -> Tensor:
    """Return for each pixel of a shifted line the index of the pixel that it shows."""
    source = torch.arange(length) - offset
    if padding == "circular":
        return source % length
    if padding == "replicate":
        return source.clamp(0, length - 1)
    last = length - 1
    return last - (last - source.abs()).abs()


def decompose_maps(maps: Tensor, shifts: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    r"""Decompose the maps of shifted images into an equivariant and a static part, by least squares.

    .. math:: \min_{e, f} \sum_s \sum_p \bigl( M_s(p) - e(p - s) - f(p) \bigr)^2

    The sum is over the cells :math:`p` whose origin :math:`p - s` lies within the image; between cells :math:`e` is
    linear. A constant may be moved from :math:`e` to :math:`f`, so the static part is given a mean of zero. The normal
    equations are solved exactly, with as many unknowns as the map has positions.

    Args:
        maps: ``(S, N, *positions)``, a map of each of N images under each of S shifts.
        shifts: S shifts in cells, with one number for each dimension of the positions.

    Returns:
        The equivariant and the static part, each ``(N, *positions)``. Both are differentiable in the maps.

    Raises:
        ValueError: the shifts do not determine the parts. Shifts by two cells only are an example: even and odd cells
            never meet.

    Example:
        >>> import torch
        >>> from captum_diffcam.equivariant import decompose_maps
        >>> evidence, hoax = torch.eye(7), torch.zeros(7, 7)
        >>> hoax[0] = 1.0
        >>> shifts = [(0, 0), (0, 1), (1, 0)]
        >>> maps = torch.stack([evidence.roll(shift, (0, 1)) + hoax for shift in shifts])
        >>> equivariant, static = decompose_maps(maps[:, None], shifts)
        >>> torch.allclose(static[0], hoax - hoax.mean(), atol=1e-5)
        True
    """
    positions = maps.shape[2:]
    cells = positions.numel()
    flat = maps.flatten(2).double()
    normal = torch.zeros(cells, cells, dtype=torch.float64, device=maps.device)
    mixed = torch.zeros_like(normal)
    counts = torch.zeros(cells, dtype=torch.float64, device=maps.device)
    equivariant_sum, static_sum = torch.zeros_like(flat[0]), torch.zeros_like(flat[0])
    for shifted, shift in zip(flat, shifts, strict=True):
        origins = _origins(positions, shift).to(maps.device)
        within = origins.sum(dim=1)
        normal = normal + origins.T @ origins
        mixed = mixed + origins.T
        counts = counts + within
        equivariant_sum = equivariant_sum + shifted @ origins
        static_sum = static_sum + shifted * within
    inverse_counts = 1 / counts.clamp(min=1)
    # The static part is eliminated. A row of ones fixes the constant, which the equations leave open.
    schur = normal - (mixed * inverse_counts) @ mixed.T + 1 / cells
    factor, failed = torch.linalg.cholesky_ex(schur)
    if failed.item() or factor.diagonal().min() < _SINGULAR:
        raise ValueError(
            "`shifts` must connect every cell with every other one, as shifts by one cell along each dimension do, "
            f"got {[tuple(shift) for shift in shifts]}."
        )
    equivariant = torch.cholesky_solve((equivariant_sum - (static_sum * inverse_counts) @ mixed.T).T, factor).T
    static = (static_sum - equivariant @ mixed) * inverse_counts
    level = static.mean(dim=1, keepdim=True)
    return (
        (equivariant + level).to(maps.dtype).reshape(-1, *positions),
        (static - level).to(maps.dtype).reshape(-1, *positions),
    )


def _origins(positions: Sequence[int], shift: Sequence[float]) -> Tensor:
    """Return the weights with which the cells of a map (columns) make each cell of a shifted map (rows).

    Rows of cells whose origin lies beyond the border are zero. Shape: (cells, cells).
    """
    return reduce(torch.kron, (_line_origins(n, by) for n, by in zip(positions, shift, strict=True)))


def _line_origins(length: int, by: float) -> Tensor:
    """Return :func:`_origins` of one dimension, linear between the two nearest cells."""
    cells = torch.arange(length, dtype=torch.float64)
    origins = cells[:, None] - by
    weights = (1 - (origins - cells).abs()).clamp(min=0)
    within = (origins >= -_ROUNDING) & (origins <= length - 1 + _ROUNDING)
    return weights * within
