"""DiffGradCAM, ++ and HiResCAM of a contrast: a score, its gradient at a layer, and a weighting of the channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, Union, overload

import torch
from captum.attr import GradientAttribution, LayerAttribution
from torch import Tensor
from torch.nn import Module

from captum_diffcam._checks import as_grad_kwargs, as_index, as_inputs, log_usage, warn_user
from captum_diffcam.contrast import Contrast, check_contrast_is_unambiguous, contrast_mask, rank_rivals, top_rivals
from captum_diffcam.forward import LayerRun, explain_run
from captum_diffcam.layers import SpatialLayer, layer_warning, resolve_layer
from captum_diffcam.layouts import Layout, VitLayout, find_layout, to_positions
from captum_diffcam.logits import (
    Target,
    as_logits,
    at_least_float32,
    check_class_dim,
    check_graph,
    doubt_about_classes,
    predicted,
    resolve_target,
    warn_of_probabilities,
)
from captum_diffcam.results import Explanation, MapsT, RivalMaps
from captum_diffcam.score import Reduction, check_reduction, explained_score
from captum_diffcam.weighting import grad_cam_plus_plus_weights, grad_cam_weights, hires_cam_weights

Inputs: TypeAlias = Union[Tensor, tuple[Tensor, ...]]

# Tensor is for type checkers alone: to them, an attribute of a Module such as model.layer4 is a Tensor or a Module.
Layer: TypeAlias = Union[Module, Tensor, str, SpatialLayer]
"""A module of the model, its name, or what :func:`~captum_diffcam.last_spatial_layer` returns."""

_Result = TypeVar("_Result")


class LayerDiffGradCam(LayerAttribution, GradientAttribution, Generic[MapsT]):
    r"""DiffGradCAM: Grad-CAM of the target's logit minus an aggregate of the logits that it competes with.

    With activations :math:`A` of the layer, the target class :math:`c` and a contrast set :math:`K` of other classes,

    .. math::
        D = z_c - R(z_K), \qquad g = \frac{\partial D}{\partial A}, \qquad
        M = \sum_k \Bigl( \frac{1}{|\text{positions}|} \sum_i g_{k,i} \Bigr) A_k .

    A term that is added equally to the logits of :math:`c` and :math:`K` cancels out. An empty contrast set gives plain
    Grad-CAM, :math:`D = z_c`.

    The class replaces :class:`captum.attr.LayerGradCam`: constructor and :meth:`attribute` take the same arguments, and
    what is new is keyword-only. :meth:`explain` predicts and explains in one forward pass. Maps are defined for models
    in eval mode, because batch normalisation in train mode makes a map depend on the other examples of its batch.

    A map takes one forward pass, and a backward pass down to the layer. The model is as before afterwards: modes,
    buffers, gradients, and tensors that it stores on itself. So are PyTorch's random numbers; if the model draws some,
    two calls draw the same ones.

    Sources: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514, for the contrastive map; Y. Wang and
    X. Wang, "Why Not Other Classes?", NeurIPS 2022, for the mean, max and weighted contrast (the latter is the gradient
    under logsumexp); R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, for the weights of the channels.

    Args:
        forward_func: the model, or any function of the inputs that returns logits, not probabilities.
        layer: the layer to explain, usually the last one with spatial positions: a module, its name such as
            ``"layer4"``, or a :class:`SpatialLayer` from :func:`last_spatial_layer`. For a list of layers all maps come
            from one forward and one backward pass.
        device_ids: the order of the devices of a DataParallel model, if ``forward_func`` is a function around one.
        layout: where the layer keeps channels and positions. None: as a :class:`SpatialLayer` says, else
            ``(N, channels, *positions)``, as convolutions do. ``"vit"``: tokens (N, T, D) on the grid that the patch
            embedding of the same forward made, without class and register tokens; :func:`vit_layout` takes a grid that
            you give. ``"swin"``: channels last. Or a callable from the layer's tensor to ``(N, channels, *positions)``,
            which may reorder and leave out, but not mix. For a list of layers, one layout for all or a list of one for
            each.
        tensor_index: which floating-point tensor of the layer to explain if it returns several, counted from 0. None:
            all of them.
        run: which run of the layer to explain if it runs several times in one forward: 0 is the first, -1 the last.
            None: the last, with a warning.
        class_dim: the dimension of the classes in the output of ``forward_func``, also counted from the back: -1 for
            detectors and captioners that return (N, queries, C). None: dimension 1, with a warning if it does not look
            like that of the classes.

    Raises:
        TypeError, ValueError: an argument is not as described, or the model has no module of that name.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = LayerDiffGradCam(model, conv)
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3, contrast=[4, 5]).shape
        torch.Size([2, 1, 30, 30])
    """

    channel_weights: Callable[[Tensor, Tensor], Tensor] = staticmethod(grad_cam_weights)
    """The weighting of the channels, ``(activations, gradients) -> weights``: one for each channel, or one for each
    position of a channel. A subclass sets its own."""

    @overload
    def __init__(
        self: LayerDiffGradCam[Tensor],
        forward_func: Callable[..., Any],
        layer: Layer,
        device_ids: list[int] | None = None,
        *,
        layout: Layout | None = None,
        tensor_index: int | None = None,
        run: int | None = None,
        class_dim: int | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: LayerDiffGradCam[list[Tensor]],
        forward_func: Callable[..., Any],
        layer: list[Module] | list[Tensor | Module] | list[str] | list[SpatialLayer] | list[Layer],
        device_ids: list[int] | None = None,
        *,
        layout: Layout | list[Layout | None] | None = None,
        tensor_index: int | None = None,
        run: int | None = None,
        class_dim: int | None = None,
    ) -> None: ...

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Any,
        device_ids: list[int] | None = None,
        *,
        layout: Any = None,
        tensor_index: int | None = None,
        run: int | None = None,
        class_dim: int | None = None,
    ) -> None:
        if not callable(forward_func):
            raise TypeError(f"`forward_func` must be a model or another callable, got {type(forward_func).__name__}.")
        several = isinstance(layer, list)
        spatial_layers = [resolve_layer(forward_func, single) for single in (layer if several else [layer])]
        if not spatial_layers:
            raise ValueError("`layer` must be a layer or a list of at least one, got an empty list.")
        layouts = layout if several and isinstance(layout, list) else [layout] * len(spatial_layers)
        if len(layouts) != len(spatial_layers):
            raise ValueError(
                f"`layout` must be one for all layers or one for each of {len(spatial_layers)}, got {len(layouts)}."
            )
        modules = [single.layer for single in spatial_layers]
        LayerAttribution.__init__(self, forward_func, modules if several else modules[0], device_ids)  # type: ignore[type-var]
        GradientAttribution.__init__(self, forward_func)
        self.layouts = [
            find_layout(single.layout if own is None else own)
            for single, own in zip(spatial_layers, layouts, strict=True)
        ]
        self.at_input = [single.attribute_to_layer_input for single in spatial_layers]
        """For each layer, whether it was given as a :class:`SpatialLayer` whose input is meant."""
        self.tensor_index = _optional_index("tensor_index", tensor_index)
        self.run = _optional_index("run", run)
        self.class_dim = check_class_dim(class_dim)
        self._layer_warnings: dict[tuple[int, torch.Size], str | None] = {}

    @log_usage
    def attribute(
        self,
        inputs: Inputs,
        target: Target = None,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
    ) -> MapsT:
        r"""Explain why the model prefers the target to the classes of the contrast set.

        Args:
            inputs: the model's input, or a tuple of inputs; examples along dimension 0.
            target: the class to explain, an integer or a tensor or list of one per example. For outputs with more than
                two dimensions a tuple with an index for each of them, in their order, or a list of one such tuple per
                example: (class, row, column) for a segmentation. Or a callable ``(logits (N, C)) -> classes (N,)`` that
                is applied to the logits of the same forward: :func:`predicted` is each example's own prediction. If the
                model has one logit z per example, 0 and None are that logit. Callables then get the logits (0, z) of
                two classes, and class 0 has the negative of the logit's map.
            additional_forward_args: further arguments of ``forward_func``, one or a tuple.
            attribute_to_layer_input: explain the input of the layer instead of its output. A :class:`SpatialLayer`
                whose input is meant needs no argument.
            relu_attributions: keep only the positive part of the map, as the Grad-CAM paper does.
            attr_dim_summation: sum over channels. False returns each channel's share.
            grad_kwargs: keyword arguments of :func:`torch.autograd.grad`. With ``create_graph=True`` the map is
                differentiable down to the weights. With ``materialize_grads=True`` the map of a layer that the score
                does not depend on is zero instead of an error.
            contrast: the classes :math:`K` to explain the target against, none of them the target itself:

                - None: all other classes
                - an integer: one class
                - a collection or 1-D tensor of integers: one set for the batch. Empty: plain Grad-CAM. With a target
                  per example and as many classes it is refused, because it may be meant as one rival per example: write
                  ``[[3, 4, 5]]`` for one set, ``rivals[:, None]`` for one rival each
                - a collection of such collections, or a 2-D tensor of integers: a set per example. NoiseTunnel and
                  sensitivity_max repeat each example; the sets follow
                - a boolean mask of shape (C,) or (N, C)
                - a callable ``(logits, target) -> mask``, from logits (N, C) and target (N,) to a boolean mask (N, C);
                  :func:`top_rivals` makes one

            reduction: the aggregate :math:`R` of the contrast set's logits. ``"logsumexp"``: softmax-weighted, so that
                :math:`D` is the log-odds of the target within the target and its contrast set. ``"mean"``: all classes
                count alike. ``"max"``: the strongest rival only; ties share the gradient evenly.

        Returns:
            The map, ``(N, 1, *positions)``, or ``(N, channels, *positions)`` with ``attr_dim_summation=False``, in
            float32 or better, without a graph unless ``create_graph=True``. If the layer returns several tensors, a
            tuple of maps. If ``layer`` is a list, a list with an entry per layer.

        Raises:
            TypeError, ValueError, IndexError: an argument is not as described. The message names it, what came and
                what to do. The model and the caller's state are as before.

        Warns:
            UserWarning: the map may not be what it seems. The output looks like probabilities, the layer's tensor looks
                like tokens, modules are in train mode, a map is not finite, and the like.
        """
        explanation: Explanation[MapsT] = self.explain(
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            relu_attributions,
            attr_dim_summation,
            grad_kwargs,
            contrast=contrast,
            reduction=reduction,
        )
        return explanation.maps

    @log_usage
    def explain(
        self,
        inputs: Inputs,
        target: Target = predicted,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
        *,
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
    ) -> Explanation[MapsT]:
        r"""Predict and explain in one forward pass.

        Args:
            inputs: as in :meth:`attribute`, and so are all other arguments.
            target: the class to explain, in any form of :meth:`attribute`. By default the model's own prediction.
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the input of the layer instead of its output.
            relu_attributions: keep only the positive part of the map.
            attr_dim_summation: sum over channels.
            grad_kwargs: keyword arguments of :func:`torch.autograd.grad`.
            contrast: the classes to explain the target against.
            reduction: the aggregate of their logits.

        Returns:
            Explanation: ``maps`` as :meth:`attribute` returns them; ``target`` (N,), the classes that are explained;
            ``logits``, the output of the model; ``score`` (N,), the contrast score D in nats; ``contrast_mask`` (N, C),
            the contrast set. Only ``maps`` may carry a graph.

        Raises:
            TypeError, ValueError, IndexError: as :meth:`attribute`.

        Example:
            >>> import torch
            >>> from captum_diffcam import LayerDiffGradCam
            >>> _ = torch.manual_seed(0)
            >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
            >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
            >>> maps, classes, logits, *_ = LayerDiffGradCam(model, "0").explain(torch.rand(2, 3, 32, 32))
            >>> maps.shape, classes.equal(logits.argmax(dim=1))
            (torch.Size([2, 1, 30, 30]), True)
        """
        check_reduction(reduction)
        check_contrast_is_unambiguous(contrast, target)
        options = as_grad_kwargs(grad_kwargs)

        def explain(run: LayerRun, logits: Tensor, classes: Tensor) -> Explanation[MapsT]:
            mask = contrast_mask(contrast, logits, classes)
            score = explained_score(logits, classes, mask, reduction)
            maps = self._maps(run, score, relu_attributions, attr_dim_summation, options)
            return Explanation(self._unpack(maps), classes, run.output.detach(), score.detach(), mask)

        return self._run(inputs, target, additional_forward_args, attribute_to_layer_input, options, explain)

    @log_usage
    def attribute_rivals(
        self,
        inputs: Inputs,
        target: Target = None,
        rivals: Contrast = top_rivals(5),
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> RivalMaps[MapsT]:
        r"""Explain the target against each of its rivals separately, in one forward pass.

        Without ReLU, the sum of these maps with their weights is the map of :class:`LayerDiffGradCam` against all of
        the rivals together, under logsumexp.

        Args:
            inputs: as in :meth:`attribute`, and so are all arguments but ``rivals``.
            target: the class to explain.
            rivals: the classes to explain it against, in any form of ``contrast``.
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the input of the layer instead of its output.
            relu_attributions: keep only the positive part of each map.
            attr_dim_summation: sum over channels.
            grad_kwargs: keyword arguments of :func:`torch.autograd.grad`.

        Returns:
            RivalMaps: ``maps``, ``rivals`` and ``weights`` :math:`\operatorname{softmax}(z_K)`, the strongest first;
            then ``target`` and ``logits`` as in :meth:`explain`.

        Raises:
            TypeError, ValueError, IndexError: as :meth:`attribute`.
        """
        check_contrast_is_unambiguous(rivals, target, "rivals")
        options = {**as_grad_kwargs(grad_kwargs), "retain_graph": True}

        def explain(run: LayerRun, logits: Tensor, classes: Tensor) -> RivalMaps[MapsT]:
            mask = contrast_mask(rivals, logits, classes, "rivals")
            ranked, weights, margins = rank_rivals(logits, classes, mask)
            # Without any rival, a margin of zero still has the shape of a map.
            columns = margins.unbind(dim=1) or (0 * logits.sum(dim=1),)
            pairwise = [self._maps(run, margin, relu_attributions, attr_dim_summation, options) for margin in columns]
            maps = [
                tuple(torch.stack(maps, dim=1)[:, : ranked.shape[1]] for maps in zip(*of_layer, strict=True))
                for of_layer in zip(*pairwise, strict=True)
            ]
            return RivalMaps(self._unpack(maps), ranked, weights, classes, run.output.detach())

        return self._run(inputs, target, additional_forward_args, attribute_to_layer_input, options, explain)

    def _run(
        self,
        inputs: Inputs,
        target: Target,
        additional_forward_args: object,
        attribute_to_layer_input: bool,
        grad_kwargs: dict[str, Any],
        explain: Callable[[LayerRun, Tensor, Tensor], _Result],
    ) -> _Result:
        """Run the model and return what ``explain`` makes of the run, the logits (N, C) and the target classes (N,)."""
        input_tensors = as_inputs(inputs)

        def explain_logits(run: LayerRun) -> _Result:
            logits = as_logits(run.output, self.class_dim)
            if not (grad_kwargs.get("allow_unused") or grad_kwargs.get("materialize_grads")):
                check_graph(run.output)
            return explain(run, *resolve_target(logits, target, self.class_dim))

        run, result = explain_run(
            self.forward_func,
            self._layers,
            input_tensors,
            additional_forward_args,
            explain_logits,
            at_input=[bool(attribute_to_layer_input) or at_input for at_input in self.at_input],
            tensor_index=self.tensor_index,
            run=self.run,
            device_ids=self.device_ids,
            create_graph=bool(grad_kwargs.get("create_graph")),
            follow_axes=VitLayout() in self.layouts,
        )
        warn_of_probabilities(run.output, self.class_dim)
        for message in dict.fromkeys((*run.notes, *self._doubts(run, additional_forward_args))):
            warn_user(message)
        return result

    @property
    def _layers(self) -> list[Module]:
        return self.layer if isinstance(self.layer, list) else [self.layer]

    def _doubts(self, run: LayerRun, additional_forward_args: object) -> Iterator[str]:
        """Yield reasons why the maps may not be what they seem."""
        if doubt := doubt_about_classes(run.output, run.inputs[0], self.class_dim):
            yield doubt
        for i, tensors in enumerate(run.activations):
            for tensor in tensors:
                # Some of these warnings take another run of the model: once for each shape.
                key = (i, tensor.shape[1:])
                if key not in self._layer_warnings:
                    self._layer_warnings[key] = layer_warning(
                        self.forward_func,
                        run.inputs,
                        additional_forward_args,
                        self._layers[i],
                        run.at_input[i],
                        self.layouts[i],
                        tensor,
                    )
                if warning := self._layer_warnings[key]:
                    yield warning

    def _maps(
        self, run: LayerRun, score: Tensor, relu: bool, sum_channels: bool, grad_kwargs: dict[str, Any]
    ) -> list[tuple[Tensor, ...]]:
        """Return, by layer, the map of each of its tensors for one score (N,)."""
        gradients_by_layer = run.gradients(score, grad_kwargs)
        # A score at one position of the output, as in segmentation, may well depend on few positions of the layer.
        notes = run.notes if run.output.ndim <= 2 else []
        by_layer = zip(self._layers, self.layouts, run.axes, run.activations, gradients_by_layer, strict=True)
        maps = []
        with torch.set_grad_enabled(bool(grad_kwargs.get("create_graph"))):
            for layer, layout, of_axes, activations, gradients in by_layer:
                of_layer = []
                for axes, activation, gradient in zip(of_axes, activations, gradients, strict=True):
                    activation, gradient = to_positions(
                        layout, activation, gradient, examples=len(score), axes=axes, notes=notes
                    )
                    activation, gradient = at_least_float32(activation), at_least_float32(gradient)
                    attribution = self.channel_weights(activation, gradient) * activation
                    if sum_channels:
                        attribution = attribution.sum(dim=1, keepdim=True)
                    if warning := _not_finite(attribution, layer):
                        run.notes.append(warning)
                    of_layer.append(attribution.relu() if relu else attribution)
                maps.append(tuple(of_layer))
        return maps

    def _unpack(self, maps: list[tuple[Tensor, ...]]) -> Any:
        """Return a list if there is a list of layers, and a tuple if a layer has several tensors."""
        unpacked = [of_layer if len(of_layer) > 1 else of_layer[0] for of_layer in maps]
        return unpacked if isinstance(self.layer, list) else unpacked[0]


def attribute_each(
    cam: LayerDiffGradCam[MapsT], inputs: Inputs, target: Target, scores: Sequence[tuple[Contrast, Reduction]]
) -> list[MapsT]:
    """Return the map of each contrast set and reduction, from one forward pass."""
    for contrast, reduction in scores:
        check_reduction(reduction)
        check_contrast_is_unambiguous(contrast, target)

    def explain(run: LayerRun, logits: Tensor, classes: Tensor) -> list[MapsT]:
        maps = []
        for contrast, reduction in scores:
            score = explained_score(logits, classes, contrast_mask(contrast, logits, classes), reduction)
            maps.append(cam._unpack(cam._maps(run, score, False, True, {"retain_graph": True})))
        return maps

    return cam._run(inputs, target, None, False, {}, explain)


class LayerDiffGradCamPlusPlus(LayerDiffGradCam[MapsT]):
    r"""DiffGradCAM++: the contrast score of :class:`LayerDiffGradCam` with the weights of Grad-CAM++.

    .. math::
        M = \sum_k \Bigl( \sum_i \frac{g^+_{k,i}}{2 + g^+_{k,i} \sum_j A^+_{k,j}} \Bigr) A_k, \qquad
        g = \frac{\partial D}{\partial A}, \quad x^+ = \max(x, 0) .

    As in Grad-CAM++, :math:`Y = e^D` is differentiated and :math:`D` is taken as piecewise linear in :math:`A`. The
    factor :math:`e^D`, which scales a whole map, is left out. For ``mean``, ``max`` and one rival, on layers without
    negative activations, the weights are therefore those of the source. For ``logsumexp`` the weights of the rivals are
    taken as constant. With negative activations the denominator of the source may vanish; with :math:`A^+` it never
    does.

    An empty contrast set gives plain Grad-CAM++, which Captum lacks. Arguments are those of :class:`LayerDiffGradCam`.

    Sources: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514; A. Chattopadhay et al., "Grad-CAM++",
    arXiv:1710.11063. The rule for layers with negative activations is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCamPlusPlus, top_rivals
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = LayerDiffGradCamPlusPlus(model, conv)
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=[3, 7], contrast=top_rivals(5)).shape
        torch.Size([2, 1, 30, 30])
    """

    channel_weights = staticmethod(grad_cam_plus_plus_weights)

    if TYPE_CHECKING:  # pyright and mypy do not find the type of the maps by the overloads of a generic base class

        @overload
        def __init__(
            self: LayerDiffGradCamPlusPlus[Tensor], forward_func: Any, layer: Layer, *args: Any, **kw: Any
        ) -> None: ...
        @overload
        def __init__(
            self: LayerDiffGradCamPlusPlus[list[Tensor]], forward_func: Any, layer: list[Any], *args: Any, **kw: Any
        ) -> None: ...
        def __init__(self, *args: Any, **kw: Any) -> None: ...


class LayerDiffHiResCam(LayerDiffGradCam[MapsT]):
    r"""Contrastive HiResCAM: the contrast score of :class:`LayerDiffGradCam`, and the gradient itself as the weights.

    .. math::
        M = \sum_k g_k \odot A_k, \qquad g = \frac{\partial D}{\partial A} .

    Each position has its own weight, where Grad-CAM takes the mean over positions. Therefore a map has a scale: if only
    pooling or flattening and a linear layer follow, its positions sum to the score up to a constant,

    .. math::
        \sum_i M_i = D - \Bigl( b_c - \sum_j w_j b_j \Bigr) + H(w),

    with the biases :math:`b` of the linear layer and the weights :math:`w` of the rivals, which are
    :math:`\operatorname{softmax}(z_K)` under ``logsumexp``. The term :math:`H(w)`, their entropy, is there
    under ``logsumexp`` only, and zero for one rival. :attr:`Explanation.remainder` is what the map leaves out.

    If global average pooling and a linear layer follow, the map is that of :class:`LayerDiffGradCam`. If positions are
    flattened, the two maps differ, and only this one sums to the score. If several linear layers with ReLUs between
    them follow, as in VGG and AlexNet, the remainder also holds the effect of the biases in between, which depends on
    the image. Behind other layers the sum has no meaning of its own.

    An empty contrast set gives plain HiResCAM: Captum's ``LayerGradientXActivation``, summed over channels.
    Arguments are those of :class:`LayerDiffGradCam`.

    Sources: R. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891, for the weights and for the
    sum of one logit; those of :class:`LayerDiffGradCam` for the contrast.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffHiResCam
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3)
        >>> model = torch.nn.Sequential(conv, torch.nn.Flatten(), torch.nn.Linear(8 * 6 * 6, 10, bias=False))
        >>> explanation = LayerDiffHiResCam(model, conv).explain(torch.rand(2, 3, 8, 8), target=7, contrast=3)
        >>> torch.allclose(explanation.maps.sum(dim=(1, 2, 3)), explanation.score, atol=1e-5)
        True
    """

    channel_weights = staticmethod(hires_cam_weights)

    if TYPE_CHECKING:  # as for LayerDiffGradCamPlusPlus

        @overload
        def __init__(
            self: LayerDiffHiResCam[Tensor], forward_func: Any, layer: Layer, *args: Any, **kw: Any
        ) -> None: ...
        @overload
        def __init__(
            self: LayerDiffHiResCam[list[Tensor]], forward_func: Any, layer: list[Any], *args: Any, **kw: Any
        ) -> None: ...
        def __init__(self, *args: Any, **kw: Any) -> None: ...


def _optional_index(argument: str, value: int | None) -> int | None:
    return None if value is None else as_index(argument, value, "None or an integer")


def _not_finite(maps: Tensor, layer: Module) -> str | None:
    """Return a warning that names the examples whose map has a number that is not finite. Shape: maps (N, ...)."""
    examples = (~maps.detach().isfinite()).flatten(1).any(dim=1).nonzero().flatten().tolist()
    if not examples:
        return None
    return (
        f"The maps of `layer` ({type(layer).__name__}) are not finite for the examples {examples}: an activation or a "
        "gradient at the layer is infinite or not a number, as behind the square root of zero."
    )
