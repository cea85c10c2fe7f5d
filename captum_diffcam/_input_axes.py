"""Which dimension of an input holds its channels, so that a map is drawn along the others."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias, Union

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from captum_diffcam._checks import as_index
from captum_diffcam.layouts import convolutional

ChannelDim: TypeAlias = Union[int, Literal["auto"], None]
"""The dimension of an input that holds its channels; None: the input has none; ``"auto"``: found from the run."""

_CONVOLUTIONS = {"conv1d": 3, "conv2d": 4, "conv3d": 5}
"""And the number of dimensions that they read."""
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_RECURRENT_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")

# Models pad an input before they read it, by at most half of a large kernel on either side.
_MOST_PADDING = 16


_Dims: TypeAlias = tuple[Union[int, None], ...]


class Reading(NamedTuple):
    """Where the first operation that reads an input takes its channels to be."""

    channel_dims: tuple[int | None, ...]
    """The dimensions of the input that fit. None: the input has no channels."""

    is_proof: bool
    """Whether the operation moves along positions. A linear layer may mix positions as well as channels."""

    permuted_sizes: tuple[int, ...] = ()
    """The sizes of the positions, where the operation reads them in another order than the input has them."""


class InputReadings(TorchFunctionMode):
    """While the model runs inside, find for each input the first convolution, recurrent or linear layer that reads it.

    The input itself is not followed, since models copy, normalise and permute it. An operation reads an input if its
    channels and sizes are those of the input in one order of its dimensions.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.inputs = inputs
        self.readings: list[Reading | None] = [None] * len(inputs)
        self.waiting = set(range(len(inputs)))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.waiting:
            # Operations of exported programs are called conv2d.default.
            operand = _operand(getattr(func, "__name__", "").partition(".")[0], args, kwargs or {})
            if operand is not None:
                self._record(*operand)
        return func(*args, **(kwargs or {}))

    def _record(self, operand: Tensor, is_proof: bool) -> None:
        for i in list(self.waiting):
            exact, padded, permuted = _fitting(self.inputs[i], operand, is_proof)
            if exact:
                self.readings[i] = Reading(exact, is_proof)
                self.waiting.remove(i)
            elif (padded or permuted) and self.readings[i] is None:
                sizes = () if padded else tuple(operand.shape[2:])
                self.readings[i] = Reading(padded or permuted, is_proof, sizes)


def _operand(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Tensor, bool] | None:
    """Return what an operation reads as (rows, channels, *size), and whether it moves along the positions."""
    tensor = args[0] if args else kwargs.get("input", kwargs.get("query"))
    if not isinstance(tensor, Tensor) or tensor.is_nested or tensor.ndim < 2:
        return None
    if _CONVOLUTIONS.get(name) == tensor.ndim:
        return tensor, True
    if name in _RECURRENT and tensor.ndim == 3:
        batch_first = bool(args[-1])
        return (tensor if batch_first else tensor.transpose(0, 1)).movedim(-1, 1), True
    if name in _RECURRENT or name in _RECURRENT_CELLS:
        return tensor, True
    if name == "linear":
        return tensor.movedim(-1, 1), False
    if name == "multi_head_attention_forward" and tensor.ndim == 3:
        return tensor.transpose(0, 1).movedim(-1, 1), False
    return None


def _fitting(tensor: Tensor, operand: Tensor, in_turn: bool) -> tuple[_Dims, _Dims, _Dims]:
    """Return the channel dimensions with which an input is the operand: exactly, padded, and with sizes permuted.

    ``in_turn``: whether the operation may read frames or times one after the other.
    """
    rows, channels, *sizes = operand.shape
    exact: list[int | None] = []
    padded: list[int | None] = []
    permuted: list[int | None] = []
    for dim in (None, *range(1, tensor.ndim)):
        positions = _positions_of(tensor.shape, dim)
        outer = len(positions) - len(sizes)
        # Frames of a clip and slices of a volume may have become examples.
        expected = {len(tensor) * prod(positions[: max(outer, 0)]), *([len(tensor)] if in_turn else [])}
        if outer < 0 or rows not in expected or channels != (1 if dim is None else tensor.shape[dim]):
            continue
        if positions[outer:] == tuple(sizes):
            exact.append(dim)
        elif outer == 0 and all(0 <= now - was <= _MOST_PADDING for now, was in zip(sizes, positions, strict=True)):
            padded.append(dim)
        elif outer == 0 and sorted(positions) == sorted(sizes):
            permuted.append(dim)
    if len(exact) > 1 or tensor.ndim == 2:
        # A short sequence has as many positions as many a later layer has features, so sizes alone say nothing of it.
        exact = [dim for dim in exact if _is_moved(tensor, dim, operand)]
    return tuple(exact), tuple(padded), tuple(permuted)


def _is_moved(tensor: Tensor, dim: int | None, operand: Tensor) -> bool:
    """Tell whether an operand is the input itself, with its channels moved to dimension 1."""
    moved = channels_first(tensor, dim)
    return moved.shape == operand.shape and torch.equal(moved.detach(), operand.detach().to(moved))


def _positions_of(shape: Sequence[int], dim: int | None) -> tuple[int, ...]:
    return tuple(size for d, size in enumerate(shape) if d not in (0, dim))


def check_channel_dim(channel_dim: Any) -> Any:
    """Return one :data:`ChannelDim`, or a tuple of one for each input, or raise an error that names the argument."""
    if isinstance(channel_dim, (list, tuple)):
        return tuple(map(check_channel_dim, channel_dim))
    if channel_dim is None or (isinstance(channel_dim, str) and channel_dim == "auto"):
        return channel_dim
    if isinstance(channel_dim, str):
        raise ValueError(f"`channel_dim` must be 'auto', None or a dimension of the input, got {channel_dim!r}.")
    return as_index("channel_dim", channel_dim, "'auto', None or a dimension of the input")


def channel_dims_of(inputs: Sequence[Tensor], channel_dim: Any) -> list[ChannelDim]:
    """Return the checked ``channel_dim`` of each input. Dimensions are counted from 0, the examples."""
    dims: Sequence[ChannelDim] = channel_dim if isinstance(channel_dim, tuple) else [channel_dim] * len(inputs)
    if len(dims) != len(inputs):
        raise ValueError(f"`channel_dim` must have one entry for each of {len(inputs)} input(s), got {len(dims)}.")
    for dim, tensor in zip(dims, inputs, strict=True):
        if isinstance(dim, int) and (not -tensor.ndim < dim < tensor.ndim or dim == 0):
            raise ValueError(
                f"`channel_dim` must be from 1 to {tensor.ndim - 1}, or negative to count from the end, for an input "
                f"of shape {tuple(tensor.shape)}, got {dim}. Dimension 0 holds the examples."
            )
    return [dim % tensor.ndim if isinstance(dim, int) else dim for dim, tensor in zip(dims, inputs, strict=True)]


def has_positions(tensor: Tensor, grid: Sequence[int], channel_dim: ChannelDim, reading: Reading | None) -> bool:
    """Tell whether an input has the dimensions of a map, ``grid`` positions in all. A table beside an image has not."""
    behind = tensor.ndim - 1
    if channel_dim == "auto" and behind == len(grid):
        # Raw audio and ids. Larger inputs without channels may be anything else, too.
        return None in reading.channel_dims if reading else behind == 1
    return behind - (channel_dim is not None) == len(grid)


def find_channel_dim(
    tensor: Tensor, grid: Sequence[int], channel_dim: ChannelDim, reading: Reading | None, same_length: bool
) -> int | None:
    """Return the dimension of an input that holds its channels, or None where it has none.

    Args:
        tensor: the input.
        grid: the sizes of the map.
        channel_dim: what the user passed for this input.
        reading: how the model read the input, where that was seen.
        same_length: whether the map is as long as a sequence, as that of tokens is.

    Raises:
        ValueError: the map does not fit the input, or fits it in several ways.
    """
    if not has_positions(tensor, grid, channel_dim, reading):
        raise ValueError(
            f"`inputs` must have the {len(grid)} dimension(s) of the map, {_times(grid)}, and one of channels, unless "
            f"channel_dim=None, got shape {tuple(tensor.shape)} with channel_dim={channel_dim!r}. If the map does not "
            "belong to this input, pass `input_index` with the index of the input that it belongs to."
        )
    if reading and reading.permuted_sizes:
        _refuse_permuted(tensor, grid, channel_dim, reading.permuted_sizes)
    if channel_dim != "auto":
        return channel_dim
    if tensor.ndim - 1 == len(grid):
        return None
    dims = _likely_dims(tensor.shape, grid, reading, same_length)
    if len(dims) != 1:
        usual = " or ".join(f"channel_dim={dim}" for dim in _usual_dims(tensor.ndim))
        raise ValueError(
            f"`channel_dim` must be given: an input of shape {tuple(tensor.shape)} and a map of {_times(grid)} do not "
            f"tell which dimension of the input holds its channels. Pass {usual}, for instance."
        )
    return dims[0]


def _refuse_permuted(tensor: Tensor, grid: Sequence[int], channel_dim: ChannelDim, permuted: Sequence[int]) -> None:
    """Raise an error where the map has the order of positions that the model reads, and the input has another one.

    If ``channel_dim`` is given, the layout may have put the positions back in order, as the sizes then tell.
    """
    if channel_dim != "auto":
        sizes = _positions_of(tensor.shape, channel_dim)
        in_order = _is_within(grid, sizes) and (_has_aspect(grid, sizes) or not _has_aspect(grid, permuted))
        if in_order or len(sizes) != len(permuted):
            return
    raise ValueError(
        f"`layout` must put the map's positions in the order of the input, of shape {tuple(tensor.shape)}: the model "
        f"reads it as {_times(permuted)}. Pass a callable for `layout` that permutes them, and `channel_dim`, which is "
        f"now {channel_dim!r}."
    )


def _likely_dims(shape: Sequence[int], grid: Sequence[int], reading: Reading | None, same_length: bool) -> list[int]:
    """Return the dimensions that may hold the channels, by how the model read the input and by the sizes."""
    read = [dim for dim in reading.channel_dims if dim is not None] if reading else []
    if reading and reading.is_proof and len(read) == 1:
        return read
    usual = {dim: _positions_of(shape, dim) for dim in _usual_dims(len(shape))}
    fitting = [dim for dim, sizes in usual.items() if _is_within(grid, sizes)]
    fitting = [dim for dim in fitting if _has_aspect(grid, usual[dim])] or fitting
    kept = [dim for dim, sizes in usual.items() if sizes == tuple(grid)]
    if read:
        both = [dim for dim in read if dim in fitting]
        # In some models a linear layer along time comes before one along features.
        return [] if reading and not reading.is_proof and len(kept) == 1 and kept != both else both
    return kept if same_length and len(kept) == 1 else fitting


def _usual_dims(ndim: int) -> list[int]:
    """Return where inputs of that many dimensions have their channels: first, last, or behind the frames of a clip."""
    return [1, *([2] if ndim == 5 else []), ndim - 1]


def _is_within(grid: Sequence[int], sizes: Sequence[int]) -> bool:
    """Tell whether a map has at most as many positions as the input in every dimension."""
    return all(positions <= size for positions, size in zip(grid, sizes, strict=True))


def _has_aspect(grid: Sequence[int], sizes: Sequence[int]) -> bool:
    """Tell whether height and width of the input shrank alike. Time, before them, may shrink by another factor."""
    if len(sizes) == 1:
        return True
    (h, w), (height, width) = grid[-2:], sizes[-2:]
    return abs(w - h * width / height) <= 1 or abs(h - w * height / width) <= 1


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def keeps_length(attribution: Any) -> bool:
    """Tell whether an attribution explains tokens, of which a sequence has as many as the input has positions."""
    layouts = getattr(getattr(attribution, "attribution", attribution), "layouts", [])
    return any(layout is not convolutional for layout in layouts)


def channels_first(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Return an input as (N, channels, *size)."""
    return tensor[:, None] if channel_dim is None else tensor.movedim(channel_dim, 1)


def channels_back(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Undo :func:`channels_first`."""
    return tensor[:, 0] if channel_dim is None else tensor.movedim(1, channel_dim)
