"""Layer maps as attributions of the model's input."""

from __future__ import annotations

from typing import Any

from captum.attr import LayerAttribution
from captum.attr._utils.attribution import Attribution
from captum.log import log_usage
from torch import Tensor

from captum_diffcam.logits import Target

_LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class InputAttribution(Attribution):
    """A layer map as an attribution of the input's own shape: upsampled, and the same for every channel.

    :func:`captum.metrics.infidelity`, :func:`captum.metrics.sensitivity_max`, :class:`captum.attr.NoiseTunnel` and
    :func:`captum.attr.visualization.visualize_image_attr` expect attributions of that shape. To measure the infidelity
    of a contrastive map, pass the score that was explained, :class:`ContrastScore`, not the raw logits.

    Args:
        attribution: a layer attribution whose maps have shape ``(N, 1, *positions)``, such as :class:`LayerDiffGradCam`
            or :class:`captum.attr.LayerGradCam`.
        interpolate_mode: a mode of :func:`torch.nn.functional.interpolate`; None is linear in every dimension.

    Example:
        >>> import torch
        >>> from captum_diffcam import InputAttribution, LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3, stride=4)
        >>> pool = torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = InputAttribution(LayerDiffGradCam(model, conv))
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, attribution: LayerAttribution, interpolate_mode: str | None = None) -> None:
        if not isinstance(attribution, LayerAttribution):
            raise TypeError(f"attribution: got {type(attribution).__name__}; allowed is a LayerAttribution")
        Attribution.__init__(self, attribution.forward_func)
        self.attribution = attribution
        self.interpolate_mode = interpolate_mode

    # NoiseTunnel calls ``attribute.__wrapped__``, which this decorator sets.
    @log_usage(part_of_slo=True)
    def attribute(
        self, inputs: Tensor | tuple[Tensor, ...], target: Target = None, **kwargs: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """The map of the wrapped attribution, in the shape of the inputs.

        Args:
            inputs: the model's input ``(N, channels, *size)``, or a tuple of inputs.
            target: the class to explain.
            **kwargs: further arguments of the wrapped attribution's ``attribute``.

        Returns:
            A tensor of the input's shape; a tuple of them where ``inputs`` is a tuple.

        Raises:
            ValueError: the map has more than one channel or tensor, or its positions do not fit the dimensions of each
                of the inputs (those of a table beside an image never do).
        """
        maps = self.attribution.attribute(inputs, target, **kwargs)
        if isinstance(maps, tuple) or maps.ndim < 2 or maps.shape[1] != 1:
            got = f"{len(maps)} maps" if isinstance(maps, tuple) else f"shape {tuple(maps.shape)}"
            raise ValueError(f"attribution: returned {got}; allowed is one map of shape (N, 1, *positions)")
        if isinstance(inputs, tuple):
            return tuple(self._fit(maps, single) for single in inputs)
        return self._fit(maps, inputs)

    def _fit(self, maps: Tensor, single: Tensor) -> Tensor:
        if maps.ndim == 2:
            # A layer without positions says the same of all of the input.
            return maps.reshape(-1, *[1] * (single.ndim - 1)).expand_as(single).contiguous()
        if maps.ndim != single.ndim:
            raise ValueError(
                f"inputs: got shape {tuple(single.shape)}; a map of shape {tuple(maps.shape)} fits "
                f"{maps.ndim}-dimensional inputs"
            )
        mode = self.interpolate_mode or _LINEAR_MODES[maps.ndim - 2]
        try:
            upsampled = LayerAttribution.interpolate(maps, tuple(single.shape[2:]), mode)
        except NotImplementedError as error:
            raise ValueError(
                f"interpolate_mode: got {mode!r} for a map of shape {tuple(maps.shape)}; {error}"
            ) from error
        # Contiguous, because sensitivity_max takes a view.
        return upsampled.expand_as(single).contiguous()
