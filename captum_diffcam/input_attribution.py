"""Layer maps as attributions of the model's input."""

from __future__ import annotations

from typing import Any

import torch
from captum.attr import LayerAttribution
from captum.attr._utils.attribution import Attribution
from captum.log import log_usage
from torch import Tensor

from captum_diffcam._checks import as_inputs
from captum_diffcam.logits import Target

_LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class InputAttribution(Attribution):
    r"""A layer map as an attribution of the input's own shape: upsampled, and the same for every channel.

    Maps :math:`M_l` of :math:`L` layers, which an attribution over a list of layers returns, become one. Each counts
    alike, whatever its scale: with :math:`U` for the upsampling,

    .. math:: \frac{1}{L} \sum_l U\Bigl( \frac{M_l}{\max_i |M_{l,i}|} \Bigr),

    where the maximum is over the positions of one example, before the upsampling, and a map of zeros stays zero. The
    normalisation and the mean are our choice; R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, explain one layer.

    :func:`captum.metrics.infidelity`, :func:`captum.metrics.sensitivity_max`, :class:`captum.attr.NoiseTunnel` and
    :func:`captum.attr.visualization.visualize_image_attr` expect attributions of that shape. To measure the infidelity
    of a contrastive map, pass the score that was explained, :class:`ContrastScore`, not the raw logits.

    Args:
        attribution: a layer attribution whose maps have shape ``(N, 1, *positions)``, such as :class:`LayerDiffGradCam`
            or :class:`captum.attr.LayerGradCam`, or which returns a list of such maps.
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
            inputs: the model's input, ``(N, channels, *size)`` or ``(N, length)`` as raw audio and token ids are, or a
                tuple of inputs. NumPy arrays are taken as tensors on the CPU, of the dtype that they have.
            target: the class to explain.
            **kwargs: further arguments of the wrapped attribution's ``attribute``.

        Returns:
            A tensor of the input's shape; a tuple of them where ``inputs`` is a tuple.

        Raises:
            ValueError: a layer's map has more than one channel or tensor, or its positions do not fit the dimensions of
                each of the inputs (those of a table beside an image never do).
        """
        given = as_inputs(inputs)
        maps = self.attribution.attribute(given if isinstance(inputs, tuple) else given[0], target, **kwargs)
        layers = maps if isinstance(maps, list) else [maps]
        for layer in layers:
            if isinstance(layer, tuple) or layer.ndim < 2 or layer.shape[1] != 1:
                got = f"{len(layer)} maps" if isinstance(layer, tuple) else f"shape {tuple(layer.shape)}"
                raise ValueError(f"attribution: returned {got}; allowed is one map of shape (N, 1, *positions)")
        if isinstance(maps, list):
            layers = [_of_unit_size(layer) for layer in layers]
        fitted = tuple(torch.stack([self._fit(layer, single) for layer in layers]).mean(dim=0) for single in given)
        return fitted if isinstance(inputs, tuple) else fitted[0]

    def _fit(self, maps: Tensor, single: Tensor) -> Tensor:
        if maps.ndim == 3 and single.ndim == 2:
            return self._fit(maps, single[:, None])[:, 0]
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


def _of_unit_size(maps: Tensor) -> Tensor:
    """Each example's map divided by its largest absolute value; zeros stay zero."""
    size = maps.abs().amax(dim=tuple(range(1, maps.ndim)), keepdim=True)
    return maps / size.masked_fill(size == 0, 1)
