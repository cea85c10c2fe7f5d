"""What the model returned: logits, checked, and the class and position that a target names in them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import Node

from captum_diffcam._checks import as_index
from captum_diffcam._warnings import warn_user

TargetFunction: TypeAlias = Callable[[Tensor], Tensor]
"""``(logits (N, C)) -> classes (N,)``."""

Target: TypeAlias = Union[
    int, tuple[int, ...], Tensor, np.ndarray[Any, Any], list[int], list[tuple[int, ...]], TargetFunction, None
]
"""Captum's forms of a target, and a function of the logits; see :meth:`captum_diffcam.LayerDiffGradCam.attribute`."""

_ALLOWED = (
    "allowed are a class, a tensor or list of one class per example, and for outputs with more than two dimensions a "
    "tuple (class, position, ...) or a list of one such tuple per example; or a callable from logits (N, C) "
    "to classes (N,)"
)

_FEWEST_IN_RANGE = 10


def predicted(logits: Tensor) -> Tensor:
    """The target that is each example's own prediction, the class with the largest logit.

    Give the function itself: ``attribute(images, target=predicted)`` explains what the same forward decides. A model
    with one logit per example has one class, which is always the one explained.

    Shape: logits (N, C) -> (N,) int64.

    Example:
        >>> import torch
        >>> from captum_diffcam import predicted
        >>> predicted(torch.tensor([[0.1, 2.0], [3.0, 1.0]]))
        tensor([1, 0])
    """
    return logits.argmax(dim=1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """The tensor in float32, or in float64 where it already is."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def as_logits(output: Any) -> Tensor:
    """The model's output in float32 or better, after a check that it is a tensor of finite numbers.

    A logit of -inf is let through: so models mark a class that is ruled out.
    """
    if not isinstance(output, Tensor):
        got = type(output).__name__
        raise TypeError(f"forward_func: returned {got}; allowed is a tensor of logits{_how_to_pick(output)}")
    if not output.is_floating_point():
        raise TypeError(f"forward_func: returned a tensor of {output.dtype}; allowed is a floating-point one")
    if output.ndim == 0 or (output.ndim > 1 and output.shape[1] == 0):
        raise ValueError(f"forward_func: returned shape {tuple(output.shape)}; allowed are (N,) and (N, C, ...)")
    logits = at_least_float32(output)
    allowed = logits < torch.inf  # NaN is not
    if not allowed.all():
        raise ValueError(f"forward_func: returned the logit {logits[~allowed][0].item()}; allowed are finite ones")
    return logits


def _how_to_pick(output: Any) -> str:
    """How to pick the logits out of an output of several parts: by their name, or the first tensor."""
    # A ModelOutput of transformers is a mapping too, but its users write attributes.
    if isinstance(output, Mapping) and not is_dataclass(output):
        parts = {f"[{key!r}]": part for key, part in output.items()}
    elif isinstance(output, (list, tuple)) and not hasattr(output, "_asdict"):
        parts = {f"[{i}]": part for i, part in enumerate(output)}
    else:
        named = output._asdict() if hasattr(output, "_asdict") else getattr(output, "__dict__", {})
        parts = {f".{name}": part for name, part in named.items()}
    places = [place for place, part in parts.items() if isinstance(part, Tensor) and part.is_floating_point()]
    likely = [place for place in places if place in (".logits", "['logits']", ".out", "['out']")]
    return f", which a function around the model can pick: lambda x: model(x){(likely or places)[0]}" if places else ""


def doubt_about_classes(output: Tensor, given: Tensor) -> str | None:
    """Why dimension 1 of an output for every position does not seem to be that of the classes.

    Shapes: output (N, C, ...), given (N, channels, *size) or (N, length).
    """
    size = given.shape[2:] if given.ndim > 2 else given.shape[1:]
    if not size or output.shape[1:-1] != size or output.shape[2:] == size:
        return None
    return (
        f"forward_func: returned shape {tuple(output.shape)} for inputs of {tuple(given.shape)}, which looks as if "
        "classes came last; they are taken along dimension 1, where lambda x: model(x).movedim(-1, 1) brings them"
    )


def warn_of_probabilities(output: Tensor) -> None:
    """Warn where the model's output is probabilities, whose differences are not what the decision is made by.

    - Rows that sum to one, within 1e-5 or the rounding of the dtype, and have no negative number. Rows of whole numbers
      are let by: logits written by hand are 0 and 1, a softmax hardly ever is in every digit.
    - Numbers from 0 to 1 alone that a sigmoid or softmax made, as their graph tells. Where there is no graph, they are
      taken for a sigmoid's if there are ten classes or more and no number is 0. Logits of an untrained model are within
      0 and 1 by chance: about once in ``2 ** classes``, for a whole batch of like examples at once, and more often
      where something is added to all of them; what a ReLU returns has zeros, and a sigmoid in float32 has none above a
      logit of -104.

    Log-probabilities are fine. They differ from logits by what is added to all of them alike.

    Shape: (N,) or (N, C, ...).
    """
    values = at_least_float32(output.detach())
    if not values.numel() or values.amin() < 0:
        return
    classes = values.shape[1] if values.ndim > 1 else 1
    rounding = max(1e-5, torch.finfo(output.dtype).eps)
    if classes > 1 and ((values.sum(dim=1) - 1).abs() <= rounding).all() and values.frac().any():
        kind = "nonnegative numbers that sum to one, as softmax does"
    elif values.amax() <= 1 and (
        _made_of_probabilities(output.grad_fn) if output.grad_fn else classes >= _FEWEST_IN_RANGE and values.amin() > 0
    ):
        kind = "numbers from 0 to 1 alone, as a sigmoid for each class does"
    else:
        return
    warn_user(
        f"forward_func: returned {kind}; of probabilities the map is not that of the log-odds: it weighs all rivals "
        "nearly alike and fades where the model is sure. Return what goes into the last softmax or sigmoid"
    )


def _made_of_probabilities(last: Node) -> bool:
    """Whether a graph ends in sigmoids or softmaxes alone, which may be picked, reshaped, joined or averaged."""
    steps, seen = [last], {last}
    while steps:
        step = steps.pop()
        if step.name() not in ("SigmoidBackward0", "SoftmaxBackward0"):
            before = {earlier for earlier, _ in step.next_functions if earlier is not None}
            if not before:
                return False
            steps += before - seen
            seen |= before
    return True


def resolve_target(logits: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """The logits of all classes at the position that the target names, and the target classes.

    Shapes: logits (N, C, ...) -> logits (N, C), classes (N,) int64. An output of one number per example, (N,), is taken
    as a single class, for which the target may be None.
    """
    if logits.ndim == 1:
        if target is not None:
            raise ValueError(f"target: got {target!r}; an output of shape (N,) has no classes, so allowed is None")
        logits = logits[:, None]
    shape = logits.shape[1:]
    if callable(target):
        target = _ask(target, logits)
    if target is None:
        if shape.numel() != 1:
            raise ValueError(
                f"target: got None; the output of forward_func, of shape {tuple(logits.shape)}, has more than one "
                "number per example, so one must be named"
            )
        target = 0
    indices = [_index(item, shape) for item in _per_example(target, len(logits))]
    where = torch.tensor(indices, dtype=torch.int64, device=logits.device).reshape(-1, len(shape))
    rows = torch.arange(len(logits), device=logits.device)
    logits, classes = logits.movedim(1, -1)[(rows, *where[:, 1:].T)], where[:, 0]
    ruled_out = logits.gather(1, classes[:, None]).isneginf()
    if ruled_out.any():
        example = int(ruled_out.nonzero()[0, 0])
        raise ValueError(
            f"target: class {int(classes[example])} of example {example} has the logit -inf, so the model rules it out "
            "and nothing explains it; allowed are classes with finite logits"
        )
    return logits, classes


def _ask(target: TargetFunction, logits: Tensor) -> Tensor:
    """The classes that a callable answers with, checked. Shape: logits (N, C) -> (N,)."""
    if logits.shape[2:].numel() != 1:
        shape = tuple(logits.shape)
        raise ValueError(f"target: got a callable for an output of shape {shape}, where a position must be named too")
    classes = target(logits.detach().flatten(1))
    expected = f"allowed is an integer tensor of shape ({len(logits)},)"
    if not isinstance(classes, Tensor) or classes.is_floating_point() or classes.dtype == torch.bool:
        got = classes.dtype if isinstance(classes, Tensor) else type(classes).__name__
        raise TypeError(f"target: the callable returned {got}; {expected}")
    if classes.shape != logits.shape[:1]:
        raise ValueError(f"target: the callable returned shape {tuple(classes.shape)}; {expected}")
    return classes


def _per_example(target: Target, examples: int) -> list[Any]:
    """The target of every example, each a class or a tuple."""
    if isinstance(target, (Tensor, np.ndarray)) and math.prod(target.shape) != 1:
        if target.ndim != 1:
            kind = "a tensor" if isinstance(target, Tensor) else "an array"
            raise ValueError(f"target: got {kind} of shape {tuple(target.shape)}; {_ALLOWED}")
        target = target.tolist()
    if not isinstance(target, list):
        return [target.item() if isinstance(target, (Tensor, np.ndarray)) else target] * examples
    if len(target) != examples:
        raise ValueError(f"target: got {len(target)} targets; the batch has {examples}")
    return target


def _index(item: Any, shape: torch.Size) -> tuple[int, ...]:
    """The class and position of one example, checked; trailing positions may be left out where there is just one."""
    parts = item if isinstance(item, tuple) else (item,)
    index = tuple(as_index("target", part, _ALLOWED) for part in parts)
    if not 0 < len(index) <= len(shape) or shape[len(index) :].numel() != 1:
        raise ValueError(
            f"target: got {item!r}; an output of shape (N, {', '.join(map(str, shape))}) takes a class"
            + (f" and {len(shape) - 1} position(s), as a tuple" if len(shape) > 1 else "")
        )
    for i, (given, size) in enumerate(zip(index, shape, strict=False)):
        if not 0 <= given < size:
            what = f"position {given} along dimension {i + 1}" if i else f"class {given}"
            raise IndexError(f"target: {what} is out of range; allowed are 0 to {size - 1}")
    return index + (0,) * (len(shape) - len(index))
