"""Which dimension of an input holds its channels, so that a map is drawn along the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, Union

from torch import Tensor

from captum_diffcam._checks import as_index, warn_user
from captum_diffcam.axis_tracker import Axes
from captum_diffcam.layouts import have_same_aspect, times

ChannelDim: TypeAlias = Union[int, Literal["auto"], None]
"""The dimension of an input that holds its channels; None: the input has none; ``"auto"``: found from the run."""

_MOST_COLORS = 4


def check_channel_dim(channel_dim: Any) -> Any:
    """Return one :data:`ChannelDim`, or a tuple of one for each input, or raise an error that names the argument."""
    if isinstance(channel_dim, (list, tuple)):
        return tuple(map(check_channel_dim, channel_dim))
    if channel_dim is None or (isinstance(channel_dim, str) and channel_dim == "auto"):
        return channel_dim
    if isinstance(channel_dim, str):
        raise ValueError(f"`channel_dim` must be 'auto', None or a dimension of the input, got {channel_dim!r}.")
    dim = as_index("channel_dim", channel_dim, "'auto', None or a dimension of the input")
    if dim == 0:
        raise ValueError("`channel_dim` must be None or a dimension other than 0, which holds the examples, got 0.")
    return dim


def channel_dims_of(inputs: Sequence[Tensor], channel_dim: Any) -> list[ChannelDim]:
    """Return the checked ``channel_dim`` of each input. Dimensions are counted from 0, the examples."""
    dims: Sequence[ChannelDim] = channel_dim if isinstance(channel_dim, tuple) else [channel_dim] * len(inputs)
    if len(dims) != len(inputs):
        raise ValueError(f"`channel_dim` must have one entry for each of {len(inputs)} input(s), got {len(dims)}.")
    # One for all may be out of range for some, such as a table beside an image.
    return [
        dim % tensor.ndim if isinstance(dim, int) and -tensor.ndim < dim < tensor.ndim else dim
        for dim, tensor in zip(dims, inputs, strict=True)
    ]


def has_positions(tensor: Tensor, index: int, grid: Sequence[int], channel_dim: ChannelDim, axes: Axes | None) -> bool:
    """Return whether an input has the dimensions of a map, ``grid`` positions in all. A table beside an image has not.

    The arguments are those of :func:`find_channel_dim`.
    """
    behind = tensor.ndim - 1
    if channel_dim == "auto" and behind == len(grid):
        sources = _sources(axes)
        if behind == 1 and (sources is None or any(source[0] == index for source in sources)):
            return True  # raw audio and ids, but not a table, which has features
        return bool(_position_dims(axes, index))
    if isinstance(channel_dim, int) and not 0 < channel_dim < tensor.ndim:
        return False
    return behind - (channel_dim is not None) == len(grid)


def find_positioned_inputs(
    inputs: Sequence[Tensor], grid: Sequence[int], channel_dims: Sequence[ChannelDim], axes: Axes | None
) -> dict[int, int | None]:
    """Return the channel dimension of each input that has the dimensions of a map, by the index of the input."""
    channel_dim_of = {
        i: find_channel_dim(tensor, i, grid, dim, axes)
        for i, (tensor, dim) in enumerate(zip(inputs, channel_dims, strict=True))
        if has_positions(tensor, i, grid, dim, axes)
    }
    if not channel_dim_of:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise ValueError(
            f"`inputs` must have the map's {len(grid)} dimension(s) and one of channels, unless channel_dim=None, "
            f"got {shapes}."
        )
    return channel_dim_of


def find_channel_dim(
    tensor: Tensor, index: int, grid: Sequence[int], channel_dim: ChannelDim, axes: Axes | None
) -> int | None:
    """Return the dimension of an input that holds its channels, or None where it has none.

    Args:
        tensor: the input.
        index: the index of the input.
        grid: the sizes of the map.
        channel_dim: what the user passed for this input.
        axes: what the axes of the map (N, 1, *grid) stand for, as an axis tracker has followed them; None if it is not
            known.

    Raises:
        ValueError: the map does not fit the input, or fits it in several ways.
    """
    if not has_positions(tensor, index, grid, channel_dim, axes):
        raise ValueError(
            f"`inputs` must have the {len(grid)} dimension(s) of the map, {times(grid)}, and one of channels, unless "
            f"channel_dim=None, got shape {tuple(tensor.shape)} with channel_dim={channel_dim!r}. If the map does not "
            "belong to this input, pass `input_index` with the index of the input that it belongs to."
        )
    position_dims = _position_dims(axes, index)
    if position_dims and position_dims != sorted(position_dims):
        raise ValueError(
            f"`layout` must put the map's positions in the order of the input, of shape {tuple(tensor.shape)}: the "
            f"model reads it as {times([tensor.shape[dim] for dim in position_dims])}. Pass a callable for `layout` "
            f"that permutes them, and `channel_dim`, which is now {channel_dim!r}."
        )
    if channel_dim != "auto":
        return channel_dim
    if tensor.ndim - 1 == len(grid):
        return None
    is_guess = position_dims is None
    if position_dims is None:
        alike = _fitting_dims(tensor.shape, grid, same_aspect=True)
        dims = alike or _fitting_dims(tensor.shape, grid)
        # Of images and volumes in color there is no doubt.
        is_guess = not (len(grid) > 1 and len(alike) == 1 and tensor.shape[alike[0]] <= _MOST_COLORS)
    elif len(position_dims) == len(grid):
        dims = [dim for dim in range(1, tensor.ndim) if dim not in position_dims]
    else:
        dims = []
    if len(dims) != 1:
        usual = " or ".join(f"channel_dim={dim}" for dim in _usual_dims(tensor.ndim))
        raise ValueError(
            f"`channel_dim` must be given: an input of shape {tuple(tensor.shape)} and a map of {times(grid)} do not "
            f"tell which dimension of the input holds its channels. Pass {usual}, for instance."
        )
    if is_guess:
        warn_user(
            f"`channel_dim` is taken as {dims[0]} because of the sizes alone, {tuple(tensor.shape)} of the input and "
            f"{times(grid)} of the map, because the run does not show how the model reads the input. Pass "
            "`channel_dim` to be sure."
        )
    return dims[0]


def _sources(axes: Axes | None) -> list[tuple[int, ...]] | None:
    """Return the sources along which the dimensions of a map lie, those of channels left out; None if not known."""
    if axes is None or any(not axis.parts or axis.parts[0].source == "unknown" for axis in axes[2:]):
        return None
    return [part.source for axis in axes[2:] for part in axis.parts if isinstance(part.source, tuple)]


def _position_dims(axes: Axes | None, index: int) -> list[int] | None:
    """Return the dimensions of an input along which the dimensions of a map lie, or [] if not each lies along one.

    None: it is not known, or the map lies along another input.
    """
    sources = _sources(axes)
    if not axes or not sources or any(source[0] != index for source in sources):
        return None
    dims = [source[1] for source in sources if len(source) == 2]
    each_lies_along_one = len(set(dims)) == len(axes[2:]) and not any(axis.before + axis.after for axis in axes[2:])
    return dims if each_lies_along_one else []


def _fitting_dims(shape: Sequence[int], grid: Sequence[int], same_aspect: bool = False) -> list[int]:
    """Return the dimensions that may hold the channels by the sizes of the others."""
    usual = {dim: tuple(size for d, size in enumerate(shape) if d not in (0, dim)) for dim in _usual_dims(len(shape))}
    fitting = [dim for dim, sizes in usual.items() if all(a <= b for a, b in zip(grid, sizes, strict=True))]
    return [dim for dim in fitting if not same_aspect or have_same_aspect(grid, usual[dim])]


def _usual_dims(ndim: int) -> list[int]:
    """Return where inputs of that many dimensions have their channels: first, last, or behind the frames of a clip."""
    return [1, *([2] if ndim == 5 else []), ndim - 1]


def channels_first(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Return an input as (N, channels, *size)."""
    return tensor[:, None] if channel_dim is None else tensor.movedim(channel_dim, 1)


def channels_back(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Undo :func:`channels_first`."""
    return tensor[:, 0] if channel_dim is None else tensor.movedim(1, channel_dim)
