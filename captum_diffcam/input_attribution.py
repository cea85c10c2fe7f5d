"""Layer maps as attributions of the model's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch
from captum.attr import Attribution, LayerAttribution
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from captum_diffcam._checks import as_index, as_inputs, log_usage
from captum_diffcam._input_axes import (
    ChannelDim,
    channel_dims_of,
    channels_back,
    channels_first,
    check_channel_dim,
    find_channel_dim,
)
from captum_diffcam._internals import without_inference
from captum_diffcam.axis_tracker import AxisTracker
from captum_diffcam.forward import explain_run, graph_behind, recording
from captum_diffcam.logits import Target

_LINEAR_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


class InputAttribution(Attribution):
    r"""Upsample a layer map to the shape of the input, the same for every channel.

    Where the attribution explains a list of :math:`L` layers, their maps :math:`M_l` become one. Every layer counts
    alike, whatever the scale of its map. With :math:`U` for the upsampling,

    .. math:: \frac{1}{L} \sum_l U\Bigl( \frac{M_l}{\max_i |M_{l,i}|} \Bigr),

    where the maximum is over the positions of one example, before the upsampling, and a map of zeros stays zero. The
    normalisation and the mean are our choice; R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, explain one layer.

    :func:`captum.metrics.infidelity`, :func:`captum.metrics.sensitivity_max`, :class:`captum.attr.NoiseTunnel` and
    :func:`captum.attr.visualization.visualize_image_attr` expect attributions of that shape. To measure the infidelity
    of a contrastive map, pass the score that was explained, :class:`ContrastScore`, not the raw logits.

    Args:
        attribution: a layer attribution whose maps have shape ``(N, 1, *positions)``, such as :class:`LayerDiffGradCam`
            or :class:`captum.attr.LayerGradCam`, or which returns a list of such maps.
        interpolate_mode: a mode of :func:`torch.nn.functional.interpolate`. None: linear in every dimension.
        channel_dim: the dimension of the inputs that holds their channels, counted from 0, the examples. 1 for
            ``(N, C, H, W)``, -1 for ``(N, H, W, C)``, ``(N, T, F)`` and embeddings ``(N, T, D)``. 2 for
            ``(N, T, C, H, W)``. None: the inputs have no channels, as ``(N, H, W)``. ``"auto"``: found by following the
            axes of the input through the model to the map, else from the sizes, with a warning. An error asks for the
            argument where they do not tell. For several inputs one for all, or a tuple of one each.
        input_index: the index of the input to which the map belongs, or a list of indices, where the model has several
            inputs. The others get zeros. None: the inputs on which the layer depends in the run that is explained. One
            more forward pass finds them. So the map of a layer that runs for each of two images is drawn on one of
            them.

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

    def __init__(
        self,
        attribution: LayerAttribution,
        interpolate_mode: str | None = None,
        *,
        channel_dim: ChannelDim | Sequence[ChannelDim] = "auto",
        input_index: int | Sequence[int] | None = None,
    ) -> None:
        if not isinstance(attribution, LayerAttribution):
            raise TypeError(f"`attribution` must be a LayerAttribution, got {type(attribution).__name__}.")
        Attribution.__init__(self, attribution.forward_func)
        self.attribution = attribution
        self.interpolate_mode = interpolate_mode
        self.channel_dim = check_channel_dim(channel_dim)
        self.input_index = input_index

    @overload
    def attribute(self, inputs: Tensor, target: Target = None, **kwargs: Any) -> Tensor: ...
    @overload
    def attribute(self, inputs: tuple[Tensor, ...], target: Target = None, **kwargs: Any) -> tuple[Tensor, ...]: ...
    @log_usage
    def attribute(
        self, inputs: Tensor | tuple[Tensor, ...], target: Target = None, **kwargs: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the map of the wrapped attribution in the shape of the inputs.

        Args:
            inputs: the model's input, or a tuple of inputs. Examples are along dimension 0, and ``channel_dim`` says
                where channels are. NumPy arrays are taken as tensors on the CPU, of the dtype that they have.
            target: the class to explain.
            **kwargs: further arguments of the wrapped attribution's ``attribute``.

        Returns:
            A tensor of the input's shape; a tuple of them where ``inputs`` is a tuple.

        Raises:
            ValueError: a layer's map has more than one channel or tensor. Or its positions do not fit an input (a table
                beside an image), or fit it in several ways. Or it is unknown on which inputs the layer depends. The
                message names ``channel_dim`` or ``input_index``.
            IndexError: ``input_index`` is out of range.
        """
        tensors = as_inputs(inputs)
        channel_dims = channel_dims_of(tensors, self.channel_dim)
        drawn = self._input_indices(len(tensors))
        with AxisTracker() as tracker:
            tracker.start(tensors)
            maps = self.attribution.attribute(tensors if isinstance(inputs, tuple) else tensors[0], target, **kwargs)
        layers = maps if isinstance(maps, list) else [maps]
        for layer in layers:
            if isinstance(layer, tuple) or layer.ndim < 2 or layer.shape[1] != 1:
                got = f"{len(layer)} maps" if isinstance(layer, tuple) else f"shape {tuple(layer.shape)}"
                raise ValueError(f"`attribution` must return one map of shape (N, 1, *positions), got {got}.")
        all_axes = [tracker.axes_of(layer) for layer in layers]
        if isinstance(maps, list):
            layers = [_normalize(layer) for layer in layers]
        upsampled: dict[int, list[Tensor]] = {i: [] for i in drawn}
        for i, layer, axes in [(i, *one) for i in drawn for one in zip(layers, all_axes, strict=True)]:
            dim = find_channel_dim(tensors[i], i, layer.shape[2:], channel_dims[i], axes) if layer.ndim > 2 else None
            upsampled[i].append(self._upsample(layer, tensors[i], dim))
        if len(tensors) > 1 and self.input_index is None:
            at_input = bool(kwargs.get("attribute_to_layer_input"))
            dependencies = self._dependencies(tensors, kwargs.get("additional_forward_args"), at_input)
            for number, belongs in enumerate(dependencies):
                for i in set(drawn) - belongs:
                    upsampled[i][number] = torch.zeros_like(upsampled[i][number])
        attributions = tuple(
            torch.stack(upsampled[i]).mean(dim=0)
            if i in upsampled
            else torch.zeros(tensor.shape, dtype=layers[0].dtype, device=tensor.device)
            for i, tensor in enumerate(tensors)
        )
        return attributions if isinstance(inputs, tuple) else attributions[0]

    def _input_indices(self, count: int) -> list[int]:
        """Return the indices of the inputs on which the map is drawn."""
        if self.input_index is None:
            return list(range(count))
        listed = list(self.input_index) if isinstance(self.input_index, (list, tuple)) else [self.input_index]
        indices = [as_index("input_index", i, "an integer or a list of integers") for i in listed]
        if not indices or not all(-count <= i < count for i in indices):
            raise IndexError(f"`input_index` must be from 0 to {count - 1}, got {self.input_index!r}.")
        return [i % count for i in indices]

    def _dependencies(
        self, tensors: tuple[Tensor, ...], additional_forward_args: object, at_input: bool
    ) -> list[set[int]]:
        """Return for each layer the indices of the inputs on which it depends, by one more run of the model."""
        # An attribution that wraps another one explains the layers of that one.
        attribution = getattr(self.attribution, "attribution", self.attribution)
        layers = attribution.layer if isinstance(attribution.layer, list) else [attribution.layer]
        dependencies: list[set[int]] = []
        # Of integers autograd tells nothing.
        if all(tensor.is_floating_point() or tensor.is_complex() for tensor in tensors):
            with recording():
                leaves = [without_inference(tensor).detach().requires_grad_() for tensor in tensors]
                starts = [get_gradient_edge(leaf).node for leaf in leaves]
                run, _ = explain_run(
                    attribution.forward_func,
                    layers,
                    tuple(leaf.clone() for leaf in leaves),
                    additional_forward_args,
                    lambda run: None,
                    at_input=[at_input or single for single in getattr(attribution, "at_input", [False] * len(layers))],
                    tensor_index=getattr(attribution, "tensor_index", None),
                    run=getattr(attribution, "run", None),
                    device_ids=getattr(attribution, "device_ids", None),
                    create_graph=True,
                )
            graphs = [graph_behind(tensor.point for part in parts for tensor in part) for parts in run.tensors]
            dependencies = [{i for i, start in enumerate(starts) if start in graph} for graph in graphs]
        if not dependencies or not all(dependencies):
            raise ValueError(
                f"`input_index` must be given: autograd does not tell on which of {len(tensors)} inputs `layer` "
                "depends. Pass the index of the input to which the map belongs, or a list of indices. The other inputs "
                "get zeros."
            )
        return dependencies

    def _upsample(self, maps: Tensor, tensor: Tensor, channel_dim: int | None) -> Tensor:
        """Return a layer's maps in the shape of one input."""
        if maps.ndim == 2:
            # A layer without positions says the same of the whole input.
            return maps.reshape(-1, *[1] * (tensor.ndim - 1)).expand_as(tensor).contiguous()
        moved = channels_first(tensor, channel_dim)
        mode = self.interpolate_mode or _LINEAR_MODES[maps.ndim - 2]
        try:
            upsampled = LayerAttribution.interpolate(maps, tuple(moved.shape[2:]), mode)
        except NotImplementedError as error:
            raise ValueError(
                f"`interpolate_mode` must suit a map of shape {tuple(maps.shape)}, got {mode!r}. {error}"
            ) from error
        # Contiguous, because sensitivity_max takes a view.
        return channels_back(upsampled.expand_as(moved), channel_dim).contiguous()


def _normalize(maps: Tensor) -> Tensor:
    """Divide each example's map by its largest absolute value. Zeros stay zero."""
    largest = maps.abs().amax(dim=tuple(range(1, maps.ndim)), keepdim=True)
    return maps / largest.masked_fill(largest == 0, 1)
