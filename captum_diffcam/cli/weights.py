"""Load weights from a file into a model whose head has the size that the file needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_diffcam.cli.images import one_line
from captum_diffcam.cli.options import UsageError

_SHOWN = 4
"""Keys of each kind that an error names."""


def build_with_weights(build: Callable[[int | None], nn.Module], path: Path) -> nn.Module:
    """Return the model with the weights of the file.

    Args:
        build: From a number of classes, or None for the model's own, to the model.
        path: State dict, Lightning checkpoint or safetensors file.

    Raises:
        UsageError: The file cannot be read, or its weights do not fit.
    """
    stored = read_state_dict(path)
    model = build(None)
    expected = model.state_dict()
    weights = without_prefix(stored, expected, path)
    head = _name_of_head(model)
    if head in weights and weights[head].shape[:1] != expected[head].shape[:1]:
        model = build(len(weights[head]))
        expected = model.state_dict()
    resized = [key for key in weights if key in expected and weights[key].shape != expected[key].shape]
    if resized:
        shapes = [f"{key} {tuple(weights[key].shape)} instead of {tuple(expected[key].shape)}" for key in resized]
        raise UsageError(f"`--weights` {path.name} must fit the model, but has other shapes: {_listed(shapes)}.")
    result = model.load_state_dict(weights, strict=False)
    problems = [
        f"{problem}: {_listed(keys)}"
        for problem, keys in (("missing", result.missing_keys), ("unexpected", result.unexpected_keys))
        if keys
    ]
    if problems:
        raise UsageError(
            f"`--weights` {path.name} must fit the model, but keys are {', '.join(problems)}. If you changed "
            "the model, name a function that builds yours: `--model package.module:function`."
        )
    return model


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises:
        UsageError: The file is missing or contains something else.
    """
    if not path.is_file():
        raise UsageError(f"`--weights` must name a file, got {str(path)!r}, which does not exist.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            # Of a file that is no state dict torch also warns; the error below says all there is to say.
            warnings.simplefilter("ignore")
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling raises errors of any type for broken files
        raise UsageError(
            f"`--weights` {path.name} must be a file of tensors alone, as torch.save(model.state_dict(), file) writes "
            f"it, and no whole model ({type(error).__name__})."
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(stored, Mapping) and isinstance(stored.get(key), Mapping):
            stored = stored[key]
    if not isinstance(stored, Mapping) or not stored or not all(isinstance(value, Tensor) for value in stored.values()):
        raise UsageError(f"`--weights` {path.name} must contain a state dict, as model.state_dict() returns it.")
    return dict(stored)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file

        tensors: dict[str, Tensor] = load_file(path)
    except ImportError as error:
        raise UsageError(f"`--weights` {path.name} needs a package: `pip install safetensors`.") from error
    except Exception as error:  # errors of the library's own, which are not of one type
        raise UsageError(f"`--weights` {path.name} is no readable safetensors file: {one_line(error)}") from error
    return tensors


def without_prefix(stored: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the stored tensors under the names that the model has.

    A training framework stores the model as part of something larger, as ``model.conv.weight`` or
    ``module.conv.weight``. The prefix under which most names fit is dropped, and so is all that lies outside of it.

    Raises:
        UsageError: Several prefixes fit equally well.
    """
    prefixes = {"": 0}
    for key in stored:
        # From the longest ending of the name that the model knows.
        for start in [0, *(i + 1 for i, letter in enumerate(key) if letter == ".")]:
            if key[start:] in expected:
                prefixes[key[:start]] = prefixes.get(key[:start], 0) + 1
                break
    best = [prefix for prefix, count in prefixes.items() if count == max(prefixes.values())]
    best = [prefix for prefix in best if prefix in ("", "model.", "module.")] or best
    if len(best) > 1:
        raise UsageError(f"`--weights` {path.name} must hold one model, got several: {_listed(best)}.")
    return {key.removeprefix(best[0]): value for key, value in stored.items() if key.startswith(best[0])}


def _name_of_head(model: nn.Module) -> str:
    """Return the name of a tensor with an entry for each class: the classifier's weight, or else the last tensor."""
    state = model.state_dict()
    get_classifier: Any = getattr(model, "get_classifier", None)  # timm's models have it
    for name, module in model.named_modules():
        if get_classifier and module is get_classifier() and f"{name}.weight" in state:
            return f"{name}.weight"
    return next((name for name in reversed(state) if state[name].ndim), "")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} others" if len(names) > _SHOWN else "")
