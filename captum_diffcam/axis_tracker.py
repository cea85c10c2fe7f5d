"""Follow through one run of a model what the axes of its tensors stand for: examples, channels or positions.

A shape does not tell the layout: (N, 16, 16, 16) may be a feature map of either kind, or an attention matrix. What the
run did tells it. The axes of the inputs are known, convolutions and pooling put out positions in order, and every
reshape, transposition, slice and concatenation of their results is a call that can be followed. A tensor that does not
depend on the inputs (a table of positions, prompts, learned queries) has no axes here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias, Union

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakIdKeyDictionary

Source: TypeAlias = Union[tuple[int, ...], Literal["examples", "channels", "unknown"]]
"""What a part of an axis counts. For positions: the input, and the axis of that input unless it is flat."""


@dataclass(frozen=True)
class Part:
    """A factor of an axis: ``size`` steps of ``stride`` along its source."""

    source: Source
    size: int
    stride: int = 1
    is_color: bool = False
    """Whether it counts the colors of an input: positions only for a convolution along them."""


@dataclass(frozen=True)
class Axis:
    """An axis of a tensor: its parts, the slowest first, between ``before`` and ``after`` further entries."""

    parts: tuple[Part, ...] = ()
    before: int = 0
    after: int = 0

    @cached_property
    def size(self) -> int:
        """The number of entries."""
        return self.before + math.prod(part.size for part in self.parts) + self.after

    @cached_property
    def has_positions(self) -> bool:
        """Whether it holds positions, in a known order or not."""
        return any(
            part.size > 1 and part.source not in ("examples", "channels") and not part.is_color for part in self.parts
        )

    @cached_property
    def grid(self) -> tuple[int, ...] | None:
        """The positions of this axis, row by row; None if it holds none, or not in order."""
        sources = [part.source for part in self.parts]
        if not self.has_positions or any(isinstance(source, str) for source in sources):
            return None
        if len(set(sources)) < len(sources) or any(part.is_color for part in self.parts):
            return None
        return tuple(part.size for part in self.parts)

    @cached_property
    def is_examples(self) -> bool:
        """Whether it may count the examples: an axis of one entry may be anything."""
        return all(part.source == "examples" for part in self.parts)


Axes: TypeAlias = tuple[Axis, ...]

_COLORS = (3, 1, 4, 2)
"""The numbers of colors of an input, the likeliest first."""
_PERMUTE = {
    *("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "adjoint"),
    *("T", "mT", "H", "mH"),
}
_RESHAPE = {"reshape", "view", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "ravel"}
_EXPAND = {"expand", "expand_as", "broadcast_to", "repeat", "tile"}
_SPLIT = {"split", "chunk", "tensor_split", "split_with_sizes"}
_REDUCE = {
    *("mean", "sum", "max", "min", "amax", "amin", "std", "var", "logsumexp", "norm", "prod", "median", "argmax"),
    *("argmin", "nanmean", "nansum", "all", "any", "vector_norm", "quantile"),
}
_MIX_LAST = {
    *("linear", "matmul", "bmm", "mm", "lstm", "gru", "rnn_tanh", "rnn_relu"),
    *("scaled_dot_product_attention", "multi_head_attention_forward"),
}
"""Functions whose (first) result has the first argument's axes, but for the last one, which is made of all others."""
_RESIZE = re.compile(
    r"(?:conv|conv_transpose|\w*pool)([123])d(?:_with_indices)?|interpolate|upsample|pixel_(?:un)?shuffle"
)
"""Functions whose result has the positions of the first argument, in order but more or fewer."""
_MOVE = {
    *("roll", "flip", "fliplr", "flipud", "rot90", "gather", "take_along_dim", "index_select", "sort", "argsort"),
    *("take", "einsum", "addmm", "baddbmm", "addbmm", "addmv", "tensordot", "scatter", "scatter_add", "index_add"),
    *("index_put", "index_copy", "masked_scatter", "inverse", "rmatmul", "cdist", "grid_sample", "cholesky_solve"),
    *("linalg_solve", "linalg_inv"),
}
"""Functions that may keep a shape, though not the positions."""


class _Call(NamedTuple):
    """A call that is followed, and the shapes of its results."""

    func: Any
    args: Any
    kwargs: dict[str, Any]
    shapes: list[tuple[int, ...]]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the only result."""
        (shape,) = self.shapes
        return shape

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument that is given by its place or by its name."""
        return self.kwargs.get(name, self.args[place] if len(self.args) > place else default)


class AxisTracker(TorchFunctionMode):
    """Follow the axes of all tensors that are made of the inputs inside the context.

    Only calls from Python in this thread are followed: not what TorchScript runs, nor the replicas of DataParallel.
    """

    def __init__(self) -> None:
        super().__init__()
        self._axes = WeakIdKeyDictionary()
        self._examples = 0

    def start(self, inputs: Sequence[Tensor]) -> None:
        """Take these tensors as the inputs of the model."""
        self._examples = len(inputs[0]) if inputs[0].ndim else 0
        for index, tensor in enumerate(inputs):
            self._axes[tensor] = _input_axes(index, tuple(tensor.shape))

    def start_unknown(self, tensor: Tensor) -> None:
        """Take the tensor as one that depends on the inputs in a way that could not be followed."""
        self._axes[tensor] = self._unknown(tuple(tensor.shape))

    def axes_of(self, tensor: Tensor) -> Axes | None:
        """Return what the tensor's axes stand for; None if it is not known to depend on the inputs."""
        axes: Axes = self._axes.get(tensor, ())  # type: ignore[no-untyped-call]
        return axes or None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._follow(func, args, kwargs, [result])
        elif isinstance(result, (tuple, list)):
            self._follow(func, args, kwargs, [item for item in result if isinstance(item, Tensor)])
        elif getattr(func, "__name__", "") == "__setitem__":
            self._follow(func, args, kwargs, [args[0]])
        return result

    def _follow(self, func: Any, args: Any, kwargs: Any, results: list[Tensor]) -> None:
        """Note the axes of what a call returned, if one of its arguments depends on the inputs."""
        tensors = list(_tensors((*args, *kwargs.values())))
        if not results or all(tensor not in self._axes for tensor in tensors):
            return
        name = getattr(func, "__name__", "")
        if name == "__get__":
            name = getattr(func.__self__, "__name__", "")
        # In exported programs functions are called conv2d.default.
        name = name.partition(".")[0].strip("_")
        if name.startswith("new_") or name.endswith("_like"):
            return
        try:
            call = _Call(func, args, kwargs, [tuple(tensor.shape) for tensor in results])
            followed = self._axes_of_results(name, tensors, call)
        except Exception:  # a call that was not foreseen must not make the model fail
            followed = [self._unknown(tuple(tensor.shape)) for tensor in results]
        for tensor, axes in zip(results, followed, strict=True):
            if axes is not None:
                self._axes[tensor] = axes

    def _axes_of_results(self, name: str, tensors: list[Tensor], call: _Call) -> Sequence[Axes | None]:
        """Return the axes of each result; None for one that does not depend on the inputs."""
        first, shapes = self.axes_of(tensors[0]), call.shapes

        def unknown() -> list[Axes]:
            return [self._unknown(shape) for shape in shapes]

        if name in _MOVE or (name == "setitem" and first is None):
            return unknown()
        if name in ("cat", "concat", "concatenate"):
            return [_concatenated([(t, self.axes_of(t)) for t in tensors], call.argument(1, "dim", 0))]
        if name == "embedding":
            ids = self.axes_of(tensors[0]) or self.axes_of(tensors[-1]) or ()
            return [(*ids, _channels(shapes[0][-1]))] if len(ids) + 1 == len(shapes[0]) else unknown()
        if first is not None:
            if rule := _RULES.get(name):
                return rule(first, call) or unknown()
            if name in _MIX_LAST:
                mixed = len(first) == len(shapes[0]) and _sizes(first)[:-1] == shapes[0][:-1]
                return [(*first[:-1], _channels(shapes[0][-1])) if mixed else unknown()[0], *unknown()[1:]]
            if match := _RESIZE.fullmatch(name):
                spatial = int(match[1] or len(first) - 2)
                return [_resized(first, shape, spatial) or self._unknown(shape) for shape in shapes]
            if name in _REDUCE and shapes[0] != _sizes(first):
                return [_reduced(first, call, shape) or self._unknown(shape) for shape in shapes]
        elif name in _MIX_LAST:
            return [(*unknown()[0][:-1], _channels(shapes[0][-1])), *unknown()[1:]]
        elif name == "stack" or _RESIZE.fullmatch(name):
            return unknown()
        elif name in _RULES or name in ("to", "type_as"):
            return [None] * len(shapes)  # of the tracked tensor, only the shape or the type was used
        return [self._elementwise(tensors, shape) for shape in shapes]

    def _elementwise(self, tensors: list[Tensor], shape: tuple[int, ...]) -> Axes:
        """Return the axes of the best known argument that has the result's shape, or else what broadcasting leaves."""
        tracked = [axes for tensor in tensors if (axes := self.axes_of(tensor)) is not None]
        if alike := [axes for axes in tracked if _sizes(axes) == shape]:
            return tuple(max(of_axis, key=_rank) for of_axis in zip(*alike, strict=True)) if alike[1:] else alike[0]
        result = list(self._unknown(shape))
        for axes in tracked:
            for i in range(1, min(len(axes), len(shape)) + 1):
                if axes[-i].size == shape[-i] and i < len(shape):
                    result[-i] = axes[-i]
        return tuple(result)

    def _unknown(self, shape: tuple[int, ...]) -> Axes:
        axes = [_unknown(size) for size in shape]
        if shape and shape[0] == self._examples:
            axes[0] = Axis(_parts(Part("examples", shape[0])))
        return tuple(axes)


def _input_axes(index: int, shape: tuple[int, ...]) -> Axes:
    """Return the axes of an input: examples, then positions; of images and volumes, one small axis has the colors."""
    colors = None
    if len(shape) >= 4:
        small = [i for i, size in enumerate(shape) if i and size in _COLORS]
        colors = min(small, key=lambda i: _COLORS.index(shape[i]), default=None)
    axes = [Axis(_parts(Part("examples", size))) for size in shape[:1]]
    for i, size in enumerate(shape[1:], 1):
        source = (index, i) if len(shape) > 2 else (index,)
        axes.append(Axis(_parts(Part(source, size, is_color=i == colors))))
    return tuple(axes)


def _parts(*parts: Part) -> tuple[Part, ...]:
    """Join neighbours that are one part together, and leave out parts of one entry."""
    joined: list[Part] = []
    for part in parts:
        if part.size == 1:
            continue
        last = joined[-1] if joined else None
        if (
            last
            and last.source == part.source
            and (isinstance(part.source, str) or last.stride == part.stride * part.size)
        ):
            joined[-1] = Part(part.source, last.size * part.size, part.stride)
        else:
            joined.append(part)
    return tuple(joined)


def _channels(size: int) -> Axis:
    return Axis(_parts(Part("channels", size)))


def _unknown(size: int) -> Axis:
    return Axis(_parts(Part("unknown", size)))


def _sizes(axes: Axes) -> tuple[int, ...]:
    return tuple(axis.size for axis in axes)


def _rank(axis: Axis) -> int:
    """Return how much is known of an axis: nothing, no positions, examples or positions in order."""
    if axis.grid:
        return 3
    return 0 if axis.has_positions else 2 if axis.is_examples and axis.parts else 1


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (tuple, list)):
            yield from _tensors(value)


def _permuted(axes: Axes, call: _Call) -> list[Axes]:
    # The function itself says where each axis goes, on a tensor without memory whose sizes number its axes.
    numbered = call.func(torch.empty([i + 1 for i in range(len(axes))], device="meta"), *call.args[1:], **call.kwargs)
    return [tuple(axes[size - 1] for size in numbered.shape)]


def _reshaped(axes: Axes, call: _Call) -> list[Axes] | None:
    """Return the axes behind a reshape, which neither moves nor loses an entry."""
    shape = call.shape
    sizes = _sizes(axes)
    if math.prod(sizes) != math.prod(shape) or 0 in sizes:
        return None
    result = [Axis() for _ in shape]
    old = [i for i, size in enumerate(sizes) if size > 1]
    new = [j for j, size in enumerate(shape) if size > 1]
    while old:
        # The smallest groups of neighbouring axes, before and after, with as many entries.
        before, after = [old.pop(0)], [new.pop(0)]
        while (have := math.prod(sizes[i] for i in before)) != (want := math.prod(shape[j] for j in after)):
            if have < want:
                before.append(old.pop(0))
            else:
                after.append(new.pop(0))
        divided = _divided([axes[i] for i in before], [shape[j] for j in after])
        for j, axis in zip(after, divided, strict=True):
            result[j] = axis
    return [tuple(result)]


def _divided(axes: Sequence[Axis], sizes: Sequence[int]) -> list[Axis]:
    """Return the entries of these axes, taken as one axis, on axes of these sizes."""
    if len(axes) == len(sizes) == 1:
        return list(axes)
    unknown = [_unknown(size) for size in sizes]
    if any(axis.before or axis.after for axis in axes):
        return unknown
    waiting = list(_parts(*(part for axis in axes for part in axis.parts)))
    divided = []
    for size in sizes:
        taken: list[Part] = []
        while size > 1:
            part = waiting.pop(0)
            if size % part.size == 0:
                taken.append(part)
                size //= part.size
            elif part.size % size == 0:
                inner = part.size // size
                outer, part = replace(part, size=size, stride=part.stride * inner), replace(part, size=inner)
                if isinstance(part.source, tuple) and len(part.source) == 1:
                    # If a flat input is reshaped to an image, its rows and columns are axes of their own.
                    outer = Part((*part.source, part.stride * inner), size)
                taken.append(outer)
                waiting.insert(0, part)
                size = 1
            else:
                return unknown
        divided.append(Axis(_parts(*taken)))
    return divided


def _expanded(axes: Axes, call: _Call) -> list[Axes]:
    """Return the axes behind copies: along an axis of copies there are no positions."""
    shape = call.shape
    aligned = (*[Axis()] * (len(shape) - len(axes)), *axes)[-len(shape) :] if shape else ()
    return [tuple(axis if axis.size == size else _channels(size) for axis, size in zip(aligned, shape, strict=True))]


def _resize(axis: Axis, size: int) -> Axis:
    """Return an axis behind a convolution, a pooling or a crop along it."""
    if axis.size == size:
        return axis
    if not axis.has_positions:
        return _channels(size)
    if len(axis.parts) == 1 and not axis.before and not axis.after:
        return Axis((Part(axis.parts[0].source, size),))  # also of one entry, whose source remains known
    return _unknown(size)


def _without_colors(axis: Axis) -> Axis:
    """Return an axis along which a convolution or a pooling moves: even colors are positions for it."""
    if axis.before + axis.after or not any(part.is_color for part in axis.parts):
        return axis
    return Axis(tuple(replace(part, is_color=False) for part in axis.parts))


def _resized(axes: Axes, shape: tuple[int, ...], spatial: int) -> Axes | None:
    """Return the axes behind a convolution or a pooling over the last ``spatial`` axes."""
    if len(shape) != len(axes) or len(axes) <= spatial:
        return None
    start = len(axes) - spatial
    inner = [_resize(axis, size) for axis, size in zip(map(_without_colors, axes[start:]), shape[start:], strict=True)]
    return (*axes[: start - 1], _channels(shape[start - 1]), *inner)


def _padded(axes: Axes, call: _Call) -> list[Axes] | None:
    pad = call.argument(1, "pad", ())
    result = list(axes)
    for i in range(len(pad) // 2):
        axis, before, after = axes[-1 - i], pad[2 * i], pad[2 * i + 1]
        if len(axis.parts) > 1 and min(before, after) >= 0 and axis.has_positions:
            result[-1 - i] = replace(axis, before=axis.before + before, after=axis.after + after)
        else:
            result[-1 - i] = _resize(axis, call.shape[-1 - i])
    return [tuple(result)]


def _columns(axes: Axes, call: _Call) -> list[Axes] | None:
    """Return the axes behind the two functions called unfold."""
    shape = call.shape
    if call.func is not torch.nn.functional.unfold:  # Tensor.unfold(dimension, size, step)
        dim = call.argument(1, "dimension")
        axes = tuple(_resize(axis, shape[i]) if i == dim % len(axes) else axis for i, axis in enumerate(axes))
        return [(*axes, _channels(shape[-1]))]
    defaults = {"kernel_size": 1, "dilation": 1, "padding": 0, "stride": 1}
    options = [call.argument(i, name, default) for i, (name, default) in enumerate(defaults.items(), 1)]
    pairs = [tuple(option) if isinstance(option, (tuple, list)) else (option, option) for option in options]
    parts: list[Part] = []
    for axis, kernel, dilation, padding, stride in zip(axes[-2:], *pairs, strict=True):
        size = (axis.size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        parts += _resize(axis, size).parts
    return [(*axes[:-3], _channels(shape[-2]), Axis(_parts(*parts)))]


def _folded(axes: Axes, call: _Call) -> list[Axes] | None:
    parts = axes[-1].parts
    if len(axes) != 3 or len(parts) != 2 or axes[-1].grid is None:
        return None
    spatial = [Axis(_parts(Part(part.source, size))) for part, size in zip(parts, call.shape[2:], strict=True)]
    return [(axes[0], _channels(call.shape[1]), *spatial)]


def _reduced(axes: Axes, call: _Call, shape: tuple[int, ...]) -> Axes | None:
    dims = call.argument(1, "dim")
    dims = [dims] if isinstance(dims, int) else dims
    if not isinstance(dims, (tuple, list)):
        return None
    gone = {dim % len(axes) for dim in dims}
    if len(shape) == len(axes):
        return tuple(Axis() if i in gone else axis for i, axis in enumerate(axes))
    return tuple(axis for i, axis in enumerate(axes) if i not in gone)


def _concatenated(pieces: list[tuple[Tensor, Axes | None]], dim: int) -> Axes:
    # An empty tensor of one axis adds nothing, whatever it is joined with.
    pieces = [(tensor, axes) for tensor, axes in pieces if tensor.numel()]
    known = [axes for _, axes in pieces if axes is not None]
    best = [max(of_axis, key=_rank) for of_axis in zip(*known, strict=True)]
    dim %= len(best)
    size = sum(tensor.shape[dim] for tensor, _ in pieces)
    place = [i for i, (_, axes) in enumerate(pieces) if axes is not None and axes[dim].has_positions]
    if not place:
        joined = _channels(size)
    elif len(place) > 1:
        joined = _unknown(size)
    else:
        axis = (pieces[place[0]][1] or ())[dim]
        before = sum(tensor.shape[dim] for tensor, _ in pieces[: place[0]])
        joined = replace(axis, before=axis.before + before, after=axis.after + size - before - axis.size)
    return (*best[:dim], joined, *best[dim + 1 :])


def _stacked(axes: Axes, call: _Call) -> list[Axes]:
    dim = call.argument(1, "dim", 0) % len(call.shape)
    return [(*axes[:dim], _unknown(call.shape[dim]), *axes[dim:])]


def _sliced(axis: Axis, start: int, stop: int, step: int) -> Axis:
    """Return the axis of the entries from start to stop."""
    size, total = len(range(start, stop, step)), axis.size
    if size == total and step == 1:
        return axis
    extra = len(axis.parts) > 1 or axis.before or axis.after
    if not extra or not axis.has_positions:
        return _resize(axis, size)
    if stop <= axis.before or start >= total - axis.after:
        return _channels(size)
    if step == 1 and start <= axis.before and stop >= total - axis.after:
        return replace(axis, before=axis.before - start, after=axis.after - (total - stop))
    return _unknown(size)


def _indexed(axes: Axes, call: _Call) -> list[Axes] | None:
    index = call.args[1] if isinstance(call.args[1], tuple) else (call.args[1],)
    if not all(item is None or item is Ellipsis or isinstance(item, (slice, int)) for item in index):
        return None
    if any(isinstance(item, bool) for item in index):
        return None
    taken = sum(item is not None and item is not Ellipsis for item in index)
    if not any(item is Ellipsis for item in index):
        index = (*index, Ellipsis)
    result, remaining = [], list(axes)
    for item in index:
        if item is None:
            result.append(Axis())
        elif item is Ellipsis:
            rest = len(axes) - taken
            result += remaining[:rest]
            del remaining[:rest]
        else:
            axis = remaining.pop(0)
            if isinstance(item, slice):
                result.append(_sliced(axis, *item.indices(axis.size)))
    return [tuple(result)]


def _split(axes: Axes, call: _Call) -> list[Axes]:
    dim = call.argument(2, "dim", 0) % len(axes)
    start, results = 0, []
    for shape in call.shapes:
        stop = start + shape[dim]
        results.append((*axes[:dim], _sliced(axes[dim], start, stop, 1), *axes[dim + 1 :]))
        start = stop
    return results


def _unbound(axes: Axes, call: _Call) -> list[Axes]:
    dim = call.argument(1, "dim", 0) % len(axes)
    return [(*axes[:dim], *axes[dim + 1 :])] * len(call.shapes)


def _narrowed(axes: Axes, call: _Call) -> list[Axes] | None:
    dim, start = call.argument(1, "dim"), call.argument(2, "start")
    if not isinstance(start, int):
        return None
    dim %= len(axes)
    start %= axes[dim].size
    return [(*axes[:dim], _sliced(axes[dim], start, start + call.shape[dim], 1), *axes[dim + 1 :])]


_RULES: dict[str, Callable[[Axes, _Call], list[Axes] | None]] = {
    **dict.fromkeys(_PERMUTE, _permuted),
    **dict.fromkeys(_RESHAPE, _reshaped),
    **dict.fromkeys(_EXPAND, _expanded),
    **dict.fromkeys(_SPLIT, _split),
    "fold": _folded,
    "getitem": _indexed,
    "narrow": _narrowed,
    "pad": _padded,
    "select": _unbound,
    "stack": _stacked,
    "unbind": _unbound,
    "unfold": _columns,
}
