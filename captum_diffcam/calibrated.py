"""The map that is closest to a class activation map and agrees with a few measured occlusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic

import torch
from captum.attr import LayerAttribution
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_count, as_inputs, as_tensor, log_usage
from captum_diffcam._input_axes import (
    ChannelDim,
    channel_dims_of,
    channels_back,
    channels_first,
    check_channel_dim,
    find_positioned_inputs,
)
from captum_diffcam._resolved_call import ResolvedCall
from captum_diffcam.axis_tracker import AxisTracker
from captum_diffcam.logits import Target
from captum_diffcam.occlusion import Fill, cover, fill_of, grid_windows, hide, in_pixels
from captum_diffcam.results import Calibration, MapsT

# Candidates of generalised cross-validation, as multiples of the mean eigenvalue of W W^T.
_RIDGES = tuple(10 ** (exponent / 4) for exponent in range(-12, 9))


class CalibratedMap(LayerAttribution, Generic[MapsT]):
    r"""Correct a map so that it agrees with a few measured occlusions.

    Windows :math:`k = 1, \dots, K` of the image are hidden, one after the other, and the fall of the score is measured,
    :math:`f_k = D(x) - D(x \text{ with window } k \text{ hidden})`. With :math:`W` (K x positions), what share of each
    position a window hides, and the map :math:`M`, whose positions are in nats,

    .. math:: M' = M + W^\top (W W^\top + \rho I)^{-1} (f - W M) .

    It is the map closest to :math:`M` whose window sums are the measured falls, exactly for :math:`\rho = 0` and in the
    sense of penalised least squares else. Without the map, :math:`M = 0`, it is the reconstruction from occlusion alone
    that has the smallest norm.

    Who manipulates a layer's maps and keeps the predictions reaches only what the windows do not see, the null space of
    :math:`W`. The cost is that of the map, and K + 1 forward passes, which are batched.

    The ridge :math:`\rho` is chosen for each image from its own measurements. With several fills, from their
    difference: it is the variance of a measured fall over the variance of a correction. With one fill by generalised
    cross-validation.

    Sources: X. Zhao et al., "BayLIME", arXiv:2012.03058, for the formula, as the posterior mean of a linear model of
    masked images with another explanation as its prior; M. Zeiler and R. Fergus, arXiv:1311.2901, for occlusion;
    G. Golub et al., Technometrics 21 (1979), for cross-validation. The fixed windows, the map in units of the score and
    the choice of the ridge from several fills are ours, as far as we know.

    Args:
        attribution: a layer attribution with maps ``(N, 1, *positions)`` in units of the score, such as
            :class:`LayerDiffGradCam`, :class:`LayerDiffHiResCam` or :class:`captum.attr.LayerGradCam`; also of several
            layers, which ``CalibratedMap[list[Tensor]](...)`` tells a type checker. The score is the contrast score for
            this library's classes, and the target's logit for Captum's.
        windows: the number of windows of each size along each dimension, evenly spaced, or windows of your own:
            ``(K, dimensions, 2)``, for each window and dimension its start and end as shares of the side.
        sizes: the sides of the windows, as shares of the image's side. The default is 9 windows, each as wide as 3 of 7
            positions. It was chosen on the photographs of scikit-image and scikit-learn with EfficientNet-Lite0. The
            results page has 18 windows that predict held-out windows better.
        fill: what hides a window: ``"blur"``, ``"mean"``, a number, a tensor such as another image, or a function of
            the images; or a list of several, over which the measured falls are averaged. Each takes K forward passes.
        ridge: the ridge, 0 or more. None: chosen as described above.
        use_map: False leaves the map out and reconstructs from occlusion alone.
        channel_dim: the dimension of the inputs that holds their channels, as in :class:`InputAttribution`.

    Example:
        >>> import torch
        >>> from captum_diffcam import CalibratedMap, LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = CalibratedMap(LayerDiffGradCam(model, conv))
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        attribution: LayerAttribution,
        windows: int | Tensor = 3,
        sizes: Sequence[float] = (3 / 7,),
        fill: Fill | Sequence[Fill] = "blur",
        *,
        ridge: float | None = None,
        use_map: bool = True,
        channel_dim: ChannelDim | Sequence[ChannelDim] = "auto",
    ) -> None:
        if not isinstance(attribution, LayerAttribution):
            raise TypeError(f"`attribution` must be a LayerAttribution, got {type(attribution).__name__}.")
        if isinstance(windows, Tensor) or hasattr(windows, "dtype"):
            windows = _as_windows(as_tensor("windows", windows))
        else:
            grid_windows(1, windows, sizes)  # checks both
        is_number = isinstance(ridge, (int, float)) and not isinstance(ridge, bool)
        if ridge is not None and not (is_number and 0 <= ridge < float("inf")):
            raise ValueError(f"`ridge` must be None or a number >= 0, got {ridge!r}.")
        fills: list[Any] = list(fill) if isinstance(fill, (list, tuple)) else [fill]
        if not fills:
            raise ValueError("`fill` must have at least one entry, got an empty list.")
        layer: Module = attribution.layer
        LayerAttribution.__init__(self, attribution.forward_func, layer, getattr(attribution, "device_ids", None))
        self.attribution = attribution
        self.windows, self.sizes, self.fills = windows, tuple(sizes), fills
        self.ridge, self.use_map = ridge, bool(use_map)
        self.channel_dim = check_channel_dim(channel_dim)

    @log_usage
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        **kwargs: Any,
    ) -> MapsT:
        r"""Return the calibrated map.

        Args:
            inputs: the model's input, or a tuple of inputs. Windows are hidden in inputs that have the dimensions of
                the map, in all of them at once. Other inputs, such as a table beside an image, stay as they are.
            target: the class to explain, in any form of :meth:`LayerDiffGradCam.attribute`. A callable such as
                :func:`predicted` is called once, with the logits of the whole image, and so is a callable ``contrast``.
            additional_forward_args: further arguments of the model.
            **kwargs: further arguments of :meth:`calibrate`.

        Returns:
            ``(N, 1, *positions)`` in units of the score, nats for a contrast score. If the attribution has a list of
            layers, a list of maps. Without a graph unless ``grad_kwargs={"create_graph": True}`` is given. The graph
            then leads through the map and the measured falls. The chosen ridge counts as a constant.

        Raises:
            TypeError, ValueError, IndexError: an argument is invalid. The message names it.
        """
        return self.calibrate(inputs, target, additional_forward_args, **kwargs).maps

    def calibrate(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        windows_per_eval: int = 8,
        show_progress: bool = False,
        relu_attributions: bool = False,
        **kwargs: Any,
    ) -> Calibration[MapsT]:
        """Return the map and what it was made from.

        Args:
            inputs: as in :meth:`attribute`.
            target: the class to explain, as in :meth:`attribute`.
            additional_forward_args: further arguments of the model, as in :meth:`attribute`.
            windows_per_eval: the number of windows in one forward pass. Tensors among the additional arguments, and
                targets per example, are then repeated in place, as Captum's tools do.
            show_progress: show a progress bar.
            relu_attributions: keep only the positive values of the calibrated map. The map that it is made from is not
                rectified.
            **kwargs: further arguments of the wrapped attribution's ``attribute``, such as ``contrast``.

        Returns:
            Calibration: the maps, their standard error, the measured falls, and how far the map was from them.

        Raises:
            TypeError, ValueError, IndexError: an argument is invalid. The message names it.
        """
        per_eval = as_count("windows_per_eval", windows_per_eval)
        tensors = as_inputs(inputs)
        call = ResolvedCall(
            self.attribution, tensors, isinstance(inputs, tuple), target, additional_forward_args, kwargs
        )
        with AxisTracker() as tracker:
            tracker.start(tensors)
            layers = call.maps_of_layers(tensors, 1)
        grids = [layer.shape[2:] for layer in layers]
        channel_dim_of = find_positioned_inputs(
            tensors, grids[0], channel_dims_of(tensors, self.channel_dim), tracker.axes_of(layers[0])
        )
        windows = self._windows(len(grids[0]))
        images = {i: channels_first(tensors[i], dim) for i, dim in channel_dim_of.items()}
        score = call.scores(tensors, 1)
        falls_by_fill = []
        with tqdm(total=len(self.fills) * len(windows), desc="window", leave=False, disable=not show_progress) as bar:
            for fill in self.fills:
                filled = {i: fill_of(image, fill) for i, image in images.items()}
                falls = []
                for batch in torch.split(windows, per_eval):
                    hidden = tuple(
                        channels_back(
                            hide(images[i], filled[i], in_pixels(batch, images[i].shape[2:])), channel_dim_of[i]
                        )
                        if i in images
                        else tensor.repeat_interleave(len(batch), dim=0)
                        for i, tensor in enumerate(tensors)
                    )
                    falls.append(score[:, None] - call.scores(hidden, len(batch)).reshape(len(score), len(batch)))
                    bar.update(len(batch))
                falls_by_fill.append(torch.cat(falls, dim=1))
        measured = torch.stack(falls_by_fill, dim=2)
        if not measured.isfinite().all():
            raise ValueError(
                "`inputs` must have finite scores, also with a window hidden, got a score that is infinite or not a "
                "number."
            )
        size = next(iter(images.values())).shape[2:]
        results = [
            calibrate_map(
                layer.flatten(1) if self.use_map else torch.zeros_like(layer).flatten(1),
                cover(in_pixels(windows, size), size, grid).to(layer.device),
                measured,
                self.ridge,
            )
            for layer, grid in zip(layers, grids, strict=True)
        ]
        maps = [corrected.reshape(layer.shape) for (corrected, _, _), layer in zip(results, layers, strict=True)]
        errors = [error.reshape(layer.shape) for (_, error, _), layer in zip(results, layers, strict=True)]
        residuals = [residual for _, _, residual in results]
        maps = [layer.relu() for layer in maps] if relu_attributions else maps
        several = isinstance(self.attribution.layer, list)
        made: tuple[Any, Any, Any] = (maps, errors, residuals) if several else (maps[0], errors[0], residuals[0])
        return Calibration(*made, measured.mean(dim=2), score, windows)

    def _windows(self, dimensions: int) -> Tensor:
        if isinstance(self.windows, int):
            return grid_windows(dimensions, self.windows, self.sizes)
        if self.windows.shape[1] != dimensions:
            raise ValueError(
                f"`windows` must have the {dimensions} dimension(s) of the map, (K, {dimensions}, 2), got shape "
                f"{tuple(self.windows.shape)}."
            )
        return self.windows


def calibrate_map(
    maps: Tensor, covers: Tensor, falls: Tensor, ridge: float | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the map closest to a given one that agrees with measured falls, its standard error, and the residual.

    Args:
        maps: (N, P), the maps :math:`M`.
        covers: (K, P), the share of each position that each window hides, :math:`W`.
        falls: (N, K) or (N, K, F), the measured falls, with F fills of which the mean counts.
        ridge: the ridge. None: as :class:`CalibratedMap` chooses it.

    Returns:
        The corrected maps (N, P), in the dtype of ``maps``. The standard error of each position (N, P), as far as it
        comes from noise in the measurements. The residuals :math:`f - W M`, (N, K).

    Example:
        >>> import torch
        >>> from captum_diffcam.calibrated import calibrate_map
        >>> covers, falls = torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[3.0]])
        >>> calibrate_map(torch.tensor([[1.0, 0.0, 5.0]]), covers, falls, ridge=0)[0]
        tensor([[2., 1., 5.]])
    """
    by_fill = falls.double() if falls.ndim == 3 else falls.double()[:, :, None]
    weights = covers.double()
    residual = by_fill.mean(dim=2) - maps.double() @ weights.T
    if not len(weights):
        return maps, torch.zeros_like(maps), residual.to(maps.dtype)
    values, vectors = torch.linalg.eigh(weights @ weights.T)
    # Windows that are sums of others add nothing: their directions are left out.
    kept = values > values.max() * 1e-10
    values, vectors = values[kept], vectors[:, kept]
    # The choice of the ridge, and with it the standard error, has no gradient.
    rotated = residual.detach() @ vectors
    if by_fill.shape[2] > 1:
        noise = by_fill.detach().var(dim=2).mean(dim=1) / by_fill.shape[2]
        signal = ((rotated.square() - noise[:, None]).sum(dim=1) / values.sum()).clamp(min=0)
        noise, chosen = noise[:, None], (noise / signal.clamp(min=1e-300))[:, None]
    else:
        chosen = _cross_validated(rotated, values)
        noise = (rotated * chosen / (values + chosen)).square().sum(dim=1, keepdim=True)
        noise = noise / (chosen / (values + chosen)).sum(dim=1, keepdim=True).clamp(min=1e-300)
    if ridge is not None:
        chosen = torch.full_like(chosen, float(ridge))
    # V / (values + ridge) V^T of the residual, and the same for each measurement's own noise.
    inverse = 1 / (values + chosen)
    corrected = maps.double() + (((residual @ vectors) * inverse) @ vectors.T) @ weights
    spread = (inverse[:, None] * vectors) @ vectors.T @ weights
    error = (noise * spread.square().sum(dim=1)).sqrt()
    return corrected.to(maps.dtype), error.to(maps.dtype), residual.to(maps.dtype)


def _cross_validated(rotated: Tensor, values: Tensor) -> Tensor:
    """Return the ridge of each image that generalised cross-validation prefers. Shapes: (N, K), (K,) -> (N, 1)."""
    ridges = torch.tensor(_RIDGES, dtype=values.dtype, device=values.device) * values.mean()
    shrink = ridges[:, None] / (values + ridges[:, None])
    errors = (rotated.square() @ shrink.square().T) / shrink.sum(dim=1).square()
    return ridges[errors.argmin(dim=1)][:, None]


def _as_windows(windows: Tensor) -> Tensor:
    """Return windows of the user's own after checking them."""
    shares = windows.detach().cpu().float()
    is_valid = shares.ndim == 3 and shares.shape[2] == 2 and len(shares) > 0
    if not is_valid or not (shares[..., 0] >= 0).all() or not (shares[..., 1] <= 1).all():
        raise ValueError(
            "`windows` must be an integer, or a tensor (K, dimensions, 2) of starts and ends as shares of the side, "
            f"from 0 to 1, got shape {tuple(windows.shape)}."
        )
    if not (shares[..., 0] < shares[..., 1]).all():
        raise ValueError("`windows` must end behind their start along each dimension, got one that does not.")
    return shares
