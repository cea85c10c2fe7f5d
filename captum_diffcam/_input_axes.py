"""Which dimension of an input holds its channels, so that a map is drawn along the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import permutations
from typing import Any, Literal, NamedTuple, TypeAlias, Union

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

from captum_diffcam._checks import as_index, warn_user
from captum_diffcam._internals import without_inference
from captum_diffcam.axis_tracker import Axes
from captum_diffcam.forward import LayerRun, explain_run, graph_behind, recording
from captum_diffcam.layouts import VitLayout, convolutional, swin

ChannelDim: TypeAlias = Union[int, Literal["auto"], None]
"""The dimension of an input that holds its channels; None: the input has none; ``"auto"``: found from the run."""

_CONVOLUTIONS = {"conv1d": 3, "conv2d": 4, "conv3d": 5}
"""And the number of dimensions that they read."""
_RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_RECURRENT_CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")

_MOST_COLORS = 4


class Reading(NamedTuple):
    """Where the first convolution or recurrent layer that reads an input takes its channels to be."""

    channel_dim: int | None
    """The dimension of the input. None: the input has no channels."""

    permuted_sizes: tuple[int, ...] = ()
    """The sizes of the positions, where the layer reads them in another order than the input has them."""


class InputReadings(TorchFunctionMode):
    """While the model runs inside, find for each input the first convolution or recurrent layer that reads it.

    A layer reads an input if its operand is the input itself, with its dimensions in some order. A table, of which a
    linear layer reads all features, has channels only.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.inputs = inputs
        self.readings: list[Reading | None] = [None] * len(inputs)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if None in self.readings:
            operand = _operand(getattr(func, "__name__", ""), args, kwargs or {})
            if operand is not None:
                for i, tensor in enumerate(self.inputs):
                    self.readings[i] = self.readings[i] or _reading(tensor, operand)
        return func(*args, **(kwargs or {}))


def _operand(name: str, args: Sequence[Any], kwargs: dict[str, Any]) -> Tensor | None:
    """Return what a convolution, recurrent or linear layer reads, as (rows, channels, *size)."""
    tensor = args[0] if args else kwargs.get("input")
    if not isinstance(tensor, Tensor) or tensor.is_nested:
        return None
    if name in _RECURRENT and tensor.ndim == 3:
        return tensor.movedim(-1, 1)
    expected = 2 if name in (*_RECURRENT, *_RECURRENT_CELLS, "linear") else _CONVOLUTIONS.get(name)
    return tensor if tensor.ndim == expected else None


def _reading(tensor: Tensor, operand: Tensor) -> Reading | None:
    """Return how an operand is an input with its channels moved to dimension 1; None if it is not, or in many ways."""
    if tensor.numel() != operand.numel():
        return None
    in_order: list[int | None] = []
    permuted: list[Reading] = []
    for dim in (None, *range(1, tensor.ndim)):
        moved = channels_first(tensor, dim)
        for order in permutations(range(2, moved.ndim)):
            candidate = moved.permute(0, 1, *order)
            if candidate.shape == operand.shape and torch.equal(candidate.detach(), operand.detach().to(candidate)):
                if list(order) == sorted(order):
                    in_order.append(dim)
                else:
                    permuted.append(Reading(dim, tuple(candidate.shape[2:])))
    if len(in_order) == 1:
        return Reading(in_order[0])
    return permuted[0] if len(permuted) == 1 and not in_order else None


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


def has_positions(tensor: Tensor, grid: Sequence[int], channel_dim: ChannelDim, reading: Reading | None) -> bool:
    """Tell whether an input has the dimensions of a map, ``grid`` positions in all. A table beside an image has not."""
    behind = tensor.ndim - 1
    if channel_dim == "auto" and behind == len(grid):
        # Raw audio and ids. Larger inputs without channels may be anything else, too.
        return reading.channel_dim is None if reading else behind == 1
    if isinstance(channel_dim, int) and not 0 < channel_dim < tensor.ndim:
        return False
    return behind - (channel_dim is not None) == len(grid)


def find_channel_dim(
    tensor: Tensor,
    grid: Sequence[int],
    channel_dim: ChannelDim,
    reading: Reading | None,
    trace: Callable[[], Axes | None],
    index: int,
) -> int | None:
    """Return the dimension of an input that holds its channels, or None where it has none.

    Args:
        tensor: the input.
        grid: the sizes of the map.
        channel_dim: what the user passed for this input.
        reading: how the model read the input, where that was seen.
        trace: returns what the axes of the map stand for. It is called where the reading does not tell.
        index: the index of the input.

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
    if reading and reading.channel_dim is not None:
        return reading.channel_dim
    alike = _fitting_dims(tensor.shape, grid, same_aspect=True)
    if len(grid) > 1 and len(alike) == 1 and tensor.shape[alike[0]] <= _MOST_COLORS:
        # Of images and volumes in color there is no doubt.
        return alike[0]
    dims = _traced_dims(trace(), index, tensor, grid)
    is_guess = dims is None
    if dims is None:
        dims = alike or _fitting_dims(tensor.shape, grid)
    if len(dims) != 1:
        usual = " or ".join(f"channel_dim={dim}" for dim in _usual_dims(tensor.ndim))
        raise ValueError(
            f"`channel_dim` must be given: an input of shape {tuple(tensor.shape)} and a map of {_times(grid)} do not "
            f"tell which dimension of the input holds its channels. Pass {usual}, for instance."
        )
    if is_guess:
        warn_user(
            f"`channel_dim` is taken as {dims[0]} because of the sizes alone, {tuple(tensor.shape)} of the input and "
            f"{_times(grid)} of the map, because the run does not show how the model reads the input. Pass "
            "`channel_dim` to be sure."
        )
    return dims[0]


def _traced_dims(axes: Axes | None, index: int, tensor: Tensor, grid: Sequence[int]) -> list[int] | None:
    """Return the dimensions of an input that are no positions of the layer; none if the map does not lie along them.

    None: the run has not shown whence the positions are.
    """
    parts = [part for axis in (axes or ()) for part in axis.parts if part.source not in ("examples", "channels")]
    if not parts or 1 in grid:  # An axis of one entry has no parts.
        return None
    dims = [part.source[1] for part in parts if part.source[0] == index and len(part.source) == 2]
    if len(dims) < len(parts):
        return None
    in_order = dims == sorted(set(dims)) and tuple(part.size for part in parts) == tuple(grid)
    return [dim for dim in range(1, tensor.ndim) if dim not in dims] if in_order else []


def _fitting_dims(shape: Sequence[int], grid: Sequence[int], same_aspect: bool = False) -> list[int]:
    """Return the dimensions that may hold the channels by the sizes of the others."""
    usual = {dim: _positions_of(shape, dim) for dim in _usual_dims(len(shape))}
    fitting = [dim for dim, sizes in usual.items() if _is_within(grid, sizes)]
    return [dim for dim in fitting if not same_aspect or _has_aspect(grid, usual[dim])]


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


class LayerTrace:
    """One more run of the model, made only if something has to be known of how an attribution's layers depend on it."""

    def __init__(self, attribution: Any, inputs: Sequence[Tensor], additional_forward_args: object, at_input: bool):
        # An attribution that wraps another one explains the layers of that one.
        self.attribution = getattr(attribution, "attribution", attribution)
        self.inputs, self.additional_forward_args, self.at_input = inputs, additional_forward_args, at_input

    @cached_property
    def _run(self) -> tuple[LayerRun, list[Node | None]]:
        """The run, and for each input the start of its graph. Integers have none."""
        layer = self.attribution.layer
        layers = layer if isinstance(layer, list) else [layer]
        own = getattr(self.attribution, "at_input", [False] * len(layers))
        with recording():
            leaves = [without_inference(tensor).detach() for tensor in self.inputs]
            starts = [
                get_gradient_edge(leaf.requires_grad_()).node if _is_differentiable(leaf) else None for leaf in leaves
            ]
            run, _ = explain_run(
                self.attribution.forward_func,
                layers,
                tuple(leaf.clone() for leaf in leaves),
                self.additional_forward_args,
                lambda run: None,
                at_input=[self.at_input or single for single in own],
                tensor_index=getattr(self.attribution, "tensor_index", None),
                run=getattr(self.attribution, "run", None),
                device_ids=getattr(self.attribution, "device_ids", None),
                create_graph=True,
                follow_axes=True,
            )
        return run, starts

    def axes(self, layer: int) -> Axes | None:
        """Return what the positions of a layer's map stand for; None where it is not known."""
        of_layers = self._run[0].axes
        axes = of_layers[layer][0] if layer < len(of_layers) else None
        if axes is None:
            # Not seen, or not a layer: an attribution of a user's own may return any maps.
            return None
        layout = getattr(self.attribution, "layouts", [convolutional] * len(of_layers))[layer]
        if isinstance(layout, VitLayout):
            return axes[1:2]
        # A layout of a user's own is not followed.
        return axes[2:] if layout is convolutional else axes[1:-1] if layout is swin else None

    def dependencies(self) -> list[set[int]]:
        """Return for each layer the indices of the inputs on which it depends, as far as autograd tells."""
        run, starts = self._run
        behind = [graph_behind(tensor.point for part in parts for tensor in part) for parts in run.tensors]
        return [{i for i, start in enumerate(starts) if start in nodes} for nodes in behind]


def _is_differentiable(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def channels_first(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Return an input as (N, channels, *size)."""
    return tensor[:, None] if channel_dim is None else tensor.movedim(channel_dim, 1)


def channels_back(tensor: Tensor, channel_dim: int | None) -> Tensor:
    """Undo :func:`channels_first`."""
    return tensor[:, 0] if channel_dim is None else tensor.movedim(1, channel_dim)
