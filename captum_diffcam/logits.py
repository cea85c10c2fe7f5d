"""The model's output as logits, and the class and position that a target names in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias, Union

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from captum_diffcam._checks import as_class, as_index, warn_user

TargetFunction: TypeAlias = Callable[[Tensor], Tensor]
"""``(logits (N, C)) -> classes (N,)``."""

Target: TypeAlias = Union[
    int, tuple[int, ...], Tensor, np.ndarray[Any, Any], list[int], list[tuple[int, ...]], TargetFunction, None
]
"""Captum's forms of a target, and a function of the logits; see :meth:`captum_diffcam.LayerDiffGradCam.attribute`."""

_FORMS = (
    "a class index, a tensor or list of one class per example, a callable from logits (N, C) to classes (N,), or, for "
    "outputs with more than two dimensions, a tuple with an index for each dimension or a list of one tuple per example"
)

_FEWEST_IN_RANGE = 10

_MOST_NAMED = 6
"""The number of parts of an output that an error names."""


def predicted(logits: Tensor) -> Tensor:
    """Return each example's own prediction: the class with the largest logit.

    Pass the function itself: ``attribute(images, target=predicted)`` explains the prediction of the same forward pass.

    A model with one logit per example decides between two classes: 1 if the logit is positive, else 0.

    Shape: logits (N, C), or (N,) and (N, 1) for one logit -> (N,) int64.

    Example:
        >>> import torch
        >>> from captum_diffcam import predicted
        >>> predicted(torch.tensor([[0.1, 2.0], [3.0, 1.0]]))
        tensor([1, 0])
        >>> predicted(torch.tensor([[0.3], [-0.2]]))
        tensor([1, 0])
    """
    if logits.ndim == 1 or logits.shape[1] == 1:
        return (logits if logits.ndim == 1 else logits[:, 0]).gt(0).long()
    return logits.argmax(dim=1)


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 if it has that dtype already."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def check_class_dim(class_dim: int | None) -> int | None:
    """Return ``class_dim``, or raise an error if it can be no dimension of classes."""
    if class_dim is None:
        return None
    class_dim = as_index("class_dim", class_dim, "None or an integer other than 0")
    if class_dim == 0:
        raise ValueError("`class_dim` must be None or an integer other than 0, got 0, the dimension of the examples.")
    return class_dim


def _positive_class_dim(output: Tensor, class_dim: int | None) -> int:
    """Return the dimension of the classes, counted from the front; dimension 1 for None."""
    dims = max(output.ndim, 2)  # (N,) has the classes of (N, 1)
    dim = 1 if class_dim is None else class_dim + dims if class_dim < 0 else class_dim
    if not 1 <= dim < dims:
        raise IndexError(
            f"`class_dim` must be from 1 to {dims - 1}, or from {1 - dims} to -1, for the output of shape "
            f"{tuple(output.shape)}, got {class_dim}."
        )
    return dim


def check_output(output: Any, class_dim: int | None = None) -> Tensor:
    """Return the model's output, or raise an error if it is no tensor that can hold logits. Values are not read."""
    if not isinstance(output, Tensor):
        raise TypeError(f"`forward_func` must return a tensor of logits, got {_parts_and_remedy(output)}.")
    if output.is_quantized:
        raise TypeError(
            f"`forward_func` must return floating-point logits, got a quantized tensor ({output.dtype}). Quantized "
            "layers have no gradients: explain the model from before quantization."
        )
    if not output.is_floating_point():
        remedy = "the magnitude of its numbers" if output.is_complex() else "the logits from which classes are chosen"
        raise TypeError(
            f"`forward_func` must return floating-point logits, got a tensor of {output.dtype}. Pass a function that "
            f"returns {remedy}."
        )
    if output.layout is not torch.strided or output.is_nested:
        raise TypeError(
            f"`forward_func` must return a dense tensor, got one with the layout {output.layout}. Pass a function that "
            "returns the logits with to_dense() or to_padded_tensor(...)."
        )
    if output.ndim == 0 or (output.ndim > 1 and output.shape[_positive_class_dim(output, class_dim)] == 0):
        raise ValueError(f"`forward_func` must return shape (N,) or (N, C, ...), got {tuple(output.shape)}.")
    return output


def as_logits(output: Any, class_dim: int | None = None) -> Tensor:
    """Return the model's output in float32 or better, checked to be a tensor of finite numbers.

    A logit of -inf is accepted: models use it for a class that they rule out.
    """
    logits = at_least_float32(check_output(output, class_dim))
    is_allowed = logits < torch.inf  # NaN is not
    try:
        all_allowed = bool(is_allowed.all())
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        raise TypeError(
            "`forward_func` must return a tensor whose values can be read, got one inside of torch.vmap. Pass a batch "
            "of examples instead of mapping over them."
        ) from error
    if not all_allowed:
        raise ValueError(f"`forward_func` must return finite logits, got {logits[~is_allowed][0].item()}.")
    return logits


def check_graph(output: Tensor) -> None:
    """Raise a ValueError if the model's output has no graph, through which gradients would reach the layer."""
    if not output.requires_grad:
        raise ValueError(
            "`forward_func` must return logits with the graph that autograd records, got a tensor without one: it was "
            "detached, passed through NumPy or integers, or computed in inference_mode. Pass a function that returns "
            "the model's own logits."
        )


def check_several_classes(logits: Tensor) -> None:
    """Raise a ValueError if the model returns one logit per example, for methods that compare classes."""
    if has_one_logit(logits):
        raise ValueError(
            f"`model` must return logits of at least two classes, got shape {tuple(logits.shape)}. Pass "
            "`two_logits(model)`, which has the classes 0 and 1."
        )


def has_one_logit(output: Tensor, class_dim: int | None = None) -> bool:
    """Return whether the model has a single logit per example or position, which decides between two classes."""
    return output.ndim == 1 or output.shape[_positive_class_dim(output, class_dim)] == 1


def _parts_and_remedy(output: Any) -> str:
    """Say what an output other than a tensor is made of, and what a function around the model must return."""
    got = type(output).__name__
    if isinstance(output, np.ndarray):
        return f"{got}. NumPy has no gradients: pass a function that returns the model's own tensor"
    parts = _parts(output)
    names = [name.strip(".[]") for name, part in parts.items() if part is not None]
    if names and not _is_sequence(output):
        got += f" of {', '.join(names[:_MOST_NAMED])}{', ...' if len(names) > _MOST_NAMED else ''}"
    tensors = [name for name, part in parts.items() if isinstance(part, Tensor) and part.is_floating_point()]
    likely = [name for name in tensors if "logit" in name.lower() or name == "['out']"]
    if _is_sequence(output):
        likely = tensors
    if likely:
        return f"{got}. Pass a function that returns the logits, such as lambda x: model(x){likely[0]}"
    return (
        f"{got}. Pass a function that returns one number per example and class, from before any softmax or selection: "
        "(N, C), or for detectors (N, boxes, C) with `class_dim=2`"
    )


def _is_sequence(output: Any) -> bool:
    return isinstance(output, (list, tuple)) and not hasattr(output, "_asdict")


def _parts(output: Any) -> dict[str, Any]:
    """Return the parts of a container, by the expression that reads each of them."""
    if isinstance(output, (str, bytes, Tensor, type)):
        return {}
    # A ModelOutput of transformers is a mapping too, but its users write attributes.
    if isinstance(output, Mapping) and not is_dataclass(output):
        return {f"[{key!r}]": part for key, part in output.items()}
    if _is_sequence(output):
        return {f"[{i}]": part for i, part in enumerate(output)}
    if hasattr(output, "_asdict"):
        return {f".{name}": part for name, part in output._asdict().items()}
    if is_dataclass(output):
        return {f".{field.name}": getattr(output, field.name, None) for field in fields(output)}
    return {f".{name}": part for name, part in getattr(output, "__dict__", {}).items()}


def doubt_about_classes(output: Tensor, inputs: Tensor, class_dim: int | None = None) -> str | None:
    """Return a warning if dimension 1 of the output does not look like that of the classes.

    It does not if the dimensions before the last one are the positions of the inputs, or if a model of images or
    volumes returns three dimensions, as detectors and captioners do: (N, queries, C).

    Shapes: output (N, C, ...), inputs (N, channels, *size) or (N, length).
    """
    if class_dim is not None:
        return None
    size = inputs.shape[2:] if inputs.ndim > 2 else inputs.shape[1:]
    if inputs.ndim > 3 and output.ndim == 3:
        is_doubtful = output.shape[2] > 1
    elif inputs.ndim == 3 and output.ndim == 3:  # (N, channels, length), or embeddings (N, length, features)
        is_doubtful = output.shape[1] in inputs.shape[1:] and output.shape[2] != size[0]
    else:
        is_doubtful = _is_scaled(output.shape[1:-1], size) and not _is_scaled(output.shape[2:], size)
    if not is_doubtful:
        return None
    return (
        f"`forward_func` returned shape {tuple(output.shape)} for inputs of shape {tuple(inputs.shape)}, which looks "
        "as if the classes came last. They are taken along dimension 1. If they do come last, pass `class_dim=-1`; if "
        "not, `class_dim=1` silences this warning."
    )


def _is_scaled(positions: torch.Size, size: torch.Size) -> bool:
    """Return whether the positions are a grid of the input's proportions; one dimension must have its length."""
    if len(positions) != len(size) or len(size) < 2:
        return positions == size
    return all(p * size[0] == positions[0] * s for p, s in zip(positions, size, strict=True))


def warn_of_probabilities(output: Tensor, class_dim: int | None = None) -> None:
    """Warn if the model returned probabilities: the decision is made by differences of logits, not of probabilities.

    These are taken for probabilities:

    - Rows without negative numbers that sum to one, within 1e-5 or the rounding of the dtype. Rows of whole numbers are
      not: logits written by hand are 0 and 1, a softmax is hardly ever 0 or 1 in every digit.
    - Outputs within 0 and 1 that a sigmoid or softmax made, as their graph tells. Without a graph, outputs within 0 and
      1 of ten classes or more, none of them 0. Logits of an untrained model lie there by chance: about once in
      ``2 ** classes``, for a whole batch of similar examples at once, and more often with a term added to all of them.
      What a ReLU returns has zeros; a sigmoid in float32 has none above a logit of -104.

    Log-probabilities are fine: they differ from logits by a term that is added to all of them.

    Shape: (N,) or (N, C, ...).
    """
    values = at_least_float32(output.detach())
    if not values.numel() or values.amin() < 0:
        return
    dim = _positive_class_dim(output, class_dim)
    classes = values.shape[dim] if values.ndim > 1 else 1
    rounding = max(1e-5, torch.finfo(output.dtype).eps)
    if classes > 1 and ((values.sum(dim=dim) - 1).abs() <= rounding).all() and values.frac().any():
        kind = "nonnegative numbers that sum to one, as a softmax does"
    elif values.amax() <= 1 and (
        _made_of_probabilities(output.grad_fn) if output.grad_fn else classes >= _FEWEST_IN_RANGE and values.amin() > 0
    ):
        kind = "only numbers from 0 to 1, as a sigmoid for each class does"
    else:
        return
    warn_user(
        f"`forward_func` returned {kind}. The map of probabilities is not that of the log-odds: it weights all rivals "
        "nearly equally and fades for confident predictions. Return the input of the last softmax or sigmoid."
    )


def _made_of_probabilities(last: Node) -> bool:
    """Return whether a graph ends in sigmoids or softmaxes only. They may be picked, reshaped, joined or averaged."""
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


def resolve_target(logits: Tensor, target: Target, class_dim: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the logits of all classes at the position that the target names, and the target classes.

    One logit z per example, (N,) or (N, 1), is returned as two classes. The targets 0 and None are the logit itself, as
    in Captum, which is class 1. A callable sees the logits (0, z) and chooses: class 1 has the map of z, class 0 that
    of -z. The other class has the logit 0, so an empty contrast set gives the same score as the default one.

    Shapes: logits (N, C, ...) -> logits (N, C), or (N, 2) for one logit; classes (N,) int64.
    """
    output = logits if logits.ndim > 1 else logits[:, None]
    dim = _positive_class_dim(output, class_dim)
    if callable(target):
        rows = output.movedim(dim, 1).flatten(1)
        if rows.shape[1] != output.shape[dim]:
            raise ValueError(
                f"`target` must name a position for an output of shape {_shown(output)}, got a callable. Pass an index "
                f"for each dimension, {_names_of_dimensions(output.shape[1:], dim - 1)}."
            )
        if rows.shape[1] == 1:
            return _two_classes(rows, _call(target, torch.cat([torch.zeros_like(rows), rows], dim=1)))
        return _checked(rows, _call(target, rows))
    if target is None:
        if output.shape[1:].numel() != 1:
            ways = (
                "a class index, or `predicted` for each example's own prediction, which is also what `explain` explains"
                if output.shape[1:].numel() == output.shape[dim]
                else f"an index for each dimension, {_names_of_dimensions(output.shape[1:], dim - 1)}"
            )
            raise ValueError(
                f"`target` must name a class for an output of shape {_shown(output)}, got None. Pass {ways}."
            )
        target = 0
    indices = [_index(item, output.shape[1:], dim - 1, _shown(logits)) for item in _per_example(target, len(output))]
    where = torch.tensor(indices, dtype=torch.int64, device=output.device).reshape(len(output), output.ndim - 1)
    positions = [where[:, i] for i in range(output.ndim - 1) if i != dim - 1]
    rows = output.movedim(dim, -1)[(torch.arange(len(output), device=output.device), *positions)]
    if rows.shape[1] == 1:
        return _two_classes(rows, torch.ones_like(where[:, 0]))
    return _checked(rows, where[:, dim - 1])


def _two_classes(logit: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return one logit as those of two classes, of which the one that is explained has z or -z and the other one 0.

    Shapes: logit (N, 1), classes (N,) -> (N, 2), (N,).
    """
    signed = torch.where(classes[:, None] == 1, logit, -logit)
    rows = torch.zeros_like(logit).expand(-1, 2).scatter(1, classes[:, None], signed)
    return _checked(rows, classes)


def _checked(logits: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Refuse target classes that the model rules out. Shapes: logits (N, C), classes (N,)."""
    is_ruled_out = logits.gather(1, classes[:, None]).isinf()
    if is_ruled_out.any():
        example = int(is_ruled_out.nonzero()[0, 0])
        raise ValueError(
            f"`target` must have a finite logit, got class {int(classes[example])} of example {example}, whose logit "
            "is infinite: the model rules it out."
        )
    return logits, classes


def _call(target: TargetFunction, logits: Tensor) -> Tensor:
    """Return the classes that a callable chooses, checked. Shape: logits (N, C) -> (N,) int64."""
    classes = target(logits.detach())
    must_return = f"The callable `target` must return an integer tensor of shape ({len(logits)},)"
    if not isinstance(classes, Tensor) or classes.dtype == torch.bool or classes.is_floating_point():
        raise TypeError(
            f"{must_return}, got {classes.dtype if isinstance(classes, Tensor) else type(classes).__name__}."
        )
    if classes.shape != logits.shape[:1]:
        raise ValueError(f"{must_return}, got shape {tuple(classes.shape)}.")
    for index in classes.tolist():
        if not 0 <= index < logits.shape[1]:
            raise IndexError(f"The callable `target` must return classes from 0 to {logits.shape[1] - 1}, got {index}.")
    return classes.to(logits.device, torch.int64)


def _per_example(target: Any, examples: int) -> list[Any]:
    """Return the target of every example, each an index or a tuple of them."""
    if isinstance(target, (Tensor, np.ndarray)) and math.prod(target.shape) != 1:
        if target.ndim != 1:
            raise ValueError(f"`target` must be {_FORMS}, got {type(target).__name__} of shape {tuple(target.shape)}.")
        target = target.tolist()
    if not isinstance(target, list):
        return [target.item() if isinstance(target, (Tensor, np.ndarray)) else target] * examples
    if len(target) != examples:
        raise ValueError(f"`target` must have one target per example, got {len(target)} for {examples} examples.")
    return target


def _shown(logits: Tensor) -> str:
    return f"(N,{' ' if logits.ndim > 1 else ''}{', '.join(map(str, logits.shape[1:]))})"


def _names_of_dimensions(shape: torch.Size, class_axis: int) -> str:
    names = ("class" if axis == class_axis else "position" for axis in range(len(shape)))
    return f"({', '.join(names)})"


def _index(item: Any, shape: torch.Size, class_axis: int, shown: str) -> tuple[int, ...]:
    """Return the index of one example's target in an output of shape (N, shape), one number per dimension.

    A class alone is enough if there is one position. In a tuple, trailing dimensions of size 1 may be left out.
    """
    parts = item if isinstance(item, tuple) else (item,)
    index = tuple(as_class("target", part, _FORMS) for part in parts)
    if len(index) == 1 and shape.numel() == shape[class_axis]:
        index = tuple(index[0] if axis == class_axis else 0 for axis in range(len(shape)))
    if not 0 < len(index) <= len(shape) or shape[len(index) :].numel() != 1:
        must_be = f"a tuple {_names_of_dimensions(shape, class_axis)}" if len(shape) > 1 else "a class"
        raise ValueError(f"`target` must be {must_be} for an output of shape {shown}, got {item!r}.")
    for axis, (part, size) in enumerate(zip(index, shape, strict=False)):
        if not 0 <= part < size:
            name = "class" if axis == class_axis else "position"
            raise IndexError(
                f"`target` must have a {name} from 0 to {size - 1}, got {part} for an output of shape {shown}"
                f"{_ONE_LOGIT if name == 'class' and size == 1 else ''}."
            )
    return index + (0,) * (len(shape) - len(index))


_ONE_LOGIT = (
    ". If this is the one logit of two classes, 0 or None explains the logit, `predicted` explains the class that it "
    "decides for, and `two_logits(model)` is a model with the classes 0 and 1"
)


def two_logits(model: Callable[..., Any]) -> TwoLogits:
    """Turn a model with one logit per example into one with two classes, of which class 1 has that logit.

    The classes have the logits 0 and z, so that their softmax is the sigmoid of z: ``softmax((0, z)) = (1 - sigmoid(z),
    sigmoid(z))``. The map of class 1 is that of the logit, the map of class 0 its negative.

    Args:
        model: a model, or another callable, that returns one logit per example, (N,) or (N, 1), or per position,
            (N, 1, ...).

    Returns:
        Module: a module that returns (N, 2) or (N, 2, ...). The model is its submodule ``model``: layers are the same
        objects, and ``train()`` and ``eval()`` reach them.

    Raises:
        TypeError: ``model`` is not callable, or its output is no tensor of floating-point numbers.
        ValueError: its output has more than one class.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam, two_logits
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 1))
        >>> LayerDiffGradCam(two_logits(model), conv).attribute(torch.rand(2, 3, 32, 32), target=[0, 1]).shape
        torch.Size([2, 1, 30, 30])
    """
    if not callable(model):
        raise TypeError(f"`model` must be a model or another callable, got {type(model).__name__}.")
    return TwoLogits(model)


class TwoLogits(nn.Module):
    """The model that :func:`two_logits` returns."""

    def __init__(self, model: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.training = getattr(model, "training", False)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the logits (0, z) for the same arguments as the model's."""
        output = check_output(self.model(*args, **kwargs))
        logit = output if output.ndim > 1 else output[:, None]
        if logit.shape[1] != 1:
            raise ValueError(
                f"`model` must return one logit per example, (N,) or (N, 1, ...), got shape {tuple(output.shape)}. A "
                "model with several classes needs no `two_logits`."
            )
        return torch.cat([torch.zeros_like(logit), logit], dim=1)
