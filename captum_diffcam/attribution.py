"""DiffGradCAM: a contrast score, the gradients of one run, and a weighting of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from captum.log import log_usage
from torch import Tensor

from captum_diffcam._capture import LayerRun
from captum_diffcam._checks import as_grad_kwargs
from captum_diffcam._layer_maps import Inputs, LayerMaps
from captum_diffcam.contrast import (
    Contrast,
    check_contrast_is_unambiguous,
    contrast_mask,
    rank_rivals,
    top_rivals,
)
from captum_diffcam.logits import Target, predicted
from captum_diffcam.results import Explanation, Maps, RivalMaps
from captum_diffcam.score import Reduction, check_reduction, explained_score
from captum_diffcam.weighting import grad_cam_weights


class LayerDiffGradCam(LayerMaps):
    r"""DiffGradCAM: Grad-CAM of the difference between the target's logit and those it competes with.

    With activations :math:`A` of the layer, the target class :math:`c` and a contrast set :math:`K` of other classes,

    .. math::
        D = z_c - R(z_K), \qquad g = \frac{\partial D}{\partial A}, \qquad
        M = \sum_k \Bigl( \frac{1}{|\text{positions}|} \sum_i g_{k,i} \Bigr) A_k .

    Nothing that is added to the logits of :math:`c` and :math:`K` alike changes the map. An empty contrast set gives
    plain Grad-CAM, :math:`D = z_c`.

    Use it where :class:`captum.attr.LayerGradCam` stands: it is a :class:`captum.attr.LayerAttribution` like that, and
    the constructor and every argument of :meth:`attribute` are the same. :meth:`explain` classifies as well. Maps are
    defined for models in eval mode (batch normalisation in train mode couples the examples).

    Sources: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514, for the contrastive score; R. Selvaraju et
    al., "Grad-CAM", arXiv:1610.02391, for the weights. The forms of the contrast set and the reductions are ours.

    Args:
        forward_func: the model, or any function of the inputs that returns logits, not probabilities.
        layer: the layer to explain, usually the last one with positions, or a list of layers, all explained from one
            forward and one backward pass. A layer that runs several times in one forward is explained at its last run.
        device_ids: the device order of a DataParallel model, where ``forward_func`` is not that model itself.
        layout: where the layer keeps channels and positions. None: ``(N, channels, *positions)``, as convolutions do.
            ``"vit"``: tokens (N, T, D), of which class and register tokens are left out; the grid of square patches is
            found from the size of the input, :func:`vit_layout` takes one that is given. ``"swin"``: channels last. Or
            a callable from the layer's tensor to ``(N, channels, *positions)``, which may reorder and leave out, but
            not mix. For a list of layers one for all, or a list of one for each.
        tensor_index: which of the layer's floating-point tensors to explain, counted from 0 in the order in which the
            layer returns them, where it returns several (attention with its weights). None: all of them.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3)
        >>> pool = torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = LayerDiffGradCam(model, conv)
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3, contrast=[4, 5]).shape
        torch.Size([2, 1, 30, 30])
    """

    channel_weights = staticmethod(grad_cam_weights)
    """The weighting rule: ``(activations, gradients) -> weights``; a subclass sets its own."""

    # NoiseTunnel calls ``attribute.__wrapped__``, which this decorator sets.
    @log_usage(part_of_slo=True)
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
    ) -> Maps | list[Maps]:
        r"""Explain why the model prefers the target to the classes of the contrast set.

        Args:
            inputs: the model's input, or a tuple of inputs; examples along dimension 0.
            target: the class to explain, an integer or a tensor or list of one per example. For outputs (N, C, ...)
                with more than two dimensions a tuple (class, position, ...) or a list of one such tuple per example.
                None where the model returns one number per example. Or a callable ``(logits (N, C)) -> classes (N,)``,
                asked in the same forward: :func:`predicted` is each example's own prediction (under NoiseTunnel that
                of each noisy copy).
            additional_forward_args: further arguments of ``forward_func``, one or a tuple.
            attribute_to_layer_input: explain the input of the layer instead of its output.
            relu_attributions: keep the positive part of the map only, as the Grad-CAM paper does.
            attr_dim_summation: sum over channels. False returns each channel's share.
            grad_kwargs: keyword arguments of :func:`torch.autograd.grad`. With ``create_graph=True`` the map is
                differentiable down to the weights; with ``materialize_grads=True`` a layer that the score does not
                depend on gets a zero map instead of an error.
            contrast: the classes :math:`K` to explain the target against, none of them the target itself:

                - None: all other classes
                - an integer: one class
                - a collection or 1-D tensor of integers: one set for the batch. Empty: plain Grad-CAM
                - a collection of such collections, or a 2-D tensor of integers: a set per example. NoiseTunnel and
                  sensitivity_max repeat each example; the sets follow
                - a boolean mask of shape (C,) or (N, C)
                - a callable ``(logits, target) -> mask``, from logits (N, C) and target (N,) to a boolean mask (N, C);
                  :func:`top_rivals` makes one

            reduction: how the contrast set's logits become one. ``"logsumexp"``: softmax-weighted, :math:`D` is the
                log-odds of the target within the target and its contrast set. ``"mean"``: all alike. ``"max"``: the
                strongest rival only, shared evenly among ties.

        Returns:
            The map, ``(N, 1, *positions)``, or ``(N, channels, *positions)`` with ``attr_dim_summation=False``. In
            float32 or better, without a graph unless ``create_graph=True``. A tuple of maps where the layer has several
            tensors. A list of these, in the order of the layers, where ``layer`` is a list.

        Raises:
            TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed. The model
                and the caller's state are then as before.
        """
        explanation: Explanation = self.explain(
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

    @log_usage(part_of_slo=True)
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
    ) -> Explanation:
        r"""Classify and explain, from one forward pass.

        Args:
            inputs: as in :meth:`attribute`, and so are all other arguments.
            target: the class to explain, in any form of :meth:`attribute`; the model's own prediction if not said.
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the input of the layer instead of its output.
            relu_attributions: keep the positive part of the map only.
            attr_dim_summation: sum over channels.
            grad_kwargs: keyword arguments of :func:`torch.autograd.grad`.
            contrast: the classes to explain the target against.
            reduction: how their logits become one.

        Returns:
            Explanation: ``maps`` as :meth:`attribute` gives them, ``target`` (N,), the classes that they explain,
            ``logits``, the output of the model, ``score`` (N,), the contrast score D in nats, and ``contrast_mask``
            (N, C), the contrast set. Only ``maps`` may carry a graph.

        Raises:
            TypeError, ValueError, IndexError: as :meth:`attribute`.

        Example:
            >>> import torch
            >>> from captum_diffcam import LayerDiffGradCam
            >>> _ = torch.manual_seed(0)
            >>> conv = torch.nn.Conv2d(3, 8, 3)
            >>> pool = torch.nn.AdaptiveAvgPool2d(1)
            >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
            >>> maps, classes, logits, *_ = LayerDiffGradCam(model, conv).explain(torch.rand(2, 3, 32, 32))
            >>> maps.shape, classes.equal(logits.argmax(dim=1))
            (torch.Size([2, 1, 30, 30]), True)
        """
        (explanation,) = self._explain_each(
            [(contrast, reduction)],
            inputs,
            target,
            additional_forward_args,
            attribute_to_layer_input,
            relu_attributions,
            attr_dim_summation,
            grad_kwargs,
        )
        return explanation

    def _explain_each(
        self,
        contrasts: Sequence[tuple[Contrast, Reduction]],
        inputs: Inputs,
        target: Target = predicted,
        additional_forward_args: object = None,
        attribute_to_layer_input: bool = False,
        relu_attributions: bool = False,
        attr_dim_summation: bool = True,
        grad_kwargs: dict[str, Any] | None = None,
    ) -> list[Explanation]:
        """An explanation for each contrast and its reduction, all from one forward pass."""
        for contrast, reduction in contrasts:
            check_reduction(reduction)
            check_contrast_is_unambiguous(contrast, target)
        options = as_grad_kwargs(grad_kwargs)
        if len(contrasts) > 1:
            options = {**options, "retain_graph": True}

        def explained(run: LayerRun, logits: Tensor, classes: Tensor) -> list[Explanation]:
            masks = [contrast_mask(contrast, logits, classes) for contrast, _ in contrasts]
            scores = [
                explained_score(logits, classes, mask, reduction)
                for mask, (_, reduction) in zip(masks, contrasts, strict=True)
            ]
            maps = [self._maps(run, score, relu_attributions, attr_dim_summation, options) for score in scores]
            return [
                Explanation(self._unpack(each), classes, run.output.detach(), score.detach(), mask)
                for each, score, mask in zip(maps, scores, masks, strict=True)
            ]

        return self._run(inputs, target, additional_forward_args, attribute_to_layer_input, options, explained)

    @log_usage(part_of_slo=True)
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
    ) -> RivalMaps:
        r"""Explain the target against each of its rivals by itself, from one forward pass.

        Before any ReLU, the pairwise maps of :class:`LayerDiffGradCam`, summed with their weights, are its map against
        all of the rivals together (under logsumexp).

        Args:
            inputs: as in :meth:`attribute`, and so are all arguments but ``rivals``.
            target: the class to explain.
            rivals: the classes to explain it against, in any form of ``contrast``.
            additional_forward_args: further arguments of ``forward_func``.
            attribute_to_layer_input: explain the input of the layer instead of its output.
            relu_attributions: keep the positive part of each map only.
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

        def explained(run: LayerRun, logits: Tensor, classes: Tensor) -> RivalMaps:
            mask = contrast_mask(rivals, logits, classes, "rivals")
            ranked, weights, margins = rank_rivals(logits, classes, mask)
            # Without any rival, a margin of zero still tells the shape of a map.
            columns = margins.unbind(dim=1) or (0 * logits.sum(dim=1),)
            pairwise = [self._maps(run, each, relu_attributions, attr_dim_summation, options) for each in columns]
            maps = [
                tuple(torch.stack(same, dim=1)[:, : ranked.shape[1]] for same in zip(*layer, strict=True))
                for layer in zip(*pairwise, strict=True)
            ]
            return RivalMaps(self._unpack(maps), ranked, weights, classes, run.output.detach())

        return self._run(inputs, target, additional_forward_args, attribute_to_layer_input, options, explained)
