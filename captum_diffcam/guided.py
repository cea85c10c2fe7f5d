"""Guided backpropagation times the contrastive map, the counterpart of Captum's GuidedGradCam."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

from captum.attr import GradientAttribution, GuidedBackprop
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn import Module, ReLU

from captum_diffcam._checks import as_inputs, log_usage, warn_user
from captum_diffcam._input_axes import ChannelDim
from captum_diffcam._internals import (
    differentiable_operations,
    modules_of,
    preserve_model_state,
    preserve_random_state,
)
from captum_diffcam.attribution import Layer, LayerDiffGradCam
from captum_diffcam.contrast import Contrast, contrast_mask
from captum_diffcam.forward import graph_behind, recording
from captum_diffcam.input_attribution import InputAttribution
from captum_diffcam.logits import Target, as_logits, resolve_target
from captum_diffcam.score import Reduction, explained_score


class GuidedDiffGradCam(GradientAttribution):
    r"""Multiply guided backpropagation of the contrast score by its DiffGradCAM map.

    The product shows fine detail where the map is positive.

    .. math:: \operatorname{GuidedBackprop}(D) \odot \operatorname{upsample}(M^+)

    Guided backpropagation changes the backward pass of :class:`torch.nn.ReLU` modules. A warning tells if the score
    also depends on ReLUs that are called as functions (``torch.relu``, ``F.relu``), which it leaves as they are.

    Sources: R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, section 3.3; the contrast score is that of
    :class:`LayerDiffGradCam`.

    Args:
        model: a :class:`torch.nn.Module` whose ReLUs are modules, as :class:`captum.attr.GuidedBackprop` requires.
        layer: as in :class:`LayerDiffGradCam`.
        cam: the class of the map, :class:`LayerDiffGradCam` or a subclass.
        channel_dim: the dimension of the inputs that holds their channels, as in :class:`InputAttribution`.
        input_index: the input to which the map belongs, as in :class:`InputAttribution`.
        **kwargs: further arguments of the constructor of ``cam``.

    Example:
        >>> import torch
        >>> from captum_diffcam import GuidedDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv, pool = torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> GuidedDiffGradCam(model, conv).attribute(torch.rand(2, 3, 32, 32), target=3, contrast=[4, 5]).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(
        self,
        model: Module,
        layer: Layer | list[Layer],
        cam: type[LayerDiffGradCam[Any]] = LayerDiffGradCam,
        *,
        channel_dim: ChannelDim | Sequence[ChannelDim] = "auto",
        input_index: int | Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"`model` must be a torch.nn.Module, got {type(model).__name__}.")
        GradientAttribution.__init__(self, model)
        self.model = model
        attribution = cam(model, layer, **kwargs)
        self.class_dim = attribution.class_dim
        self.cam = InputAttribution(attribution, "nearest", channel_dim=channel_dim, input_index=input_index)

    @overload
    def attribute(
        self,
        inputs: Tensor,
        target: Target = None,
        additional_forward_args: object = None,
        *,
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
        **kwargs: Any,
    ) -> Tensor: ...
    @overload
    def attribute(
        self,
        inputs: tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
        **kwargs: Any,
    ) -> tuple[Tensor, ...]: ...
    @log_usage
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
        **kwargs: Any,
    ) -> Tensor | tuple[Tensor, ...]:
        """Explain the target against the contrast set, in the shape of the inputs.

        Args:
            inputs: the model's input, or a tuple of inputs, of floating-point numbers. All arguments are as in
                :meth:`LayerDiffGradCam.attribute`.
            target: the class to explain.
            additional_forward_args: further arguments of the model.
            contrast: the classes to explain it against.
            reduction: how their logits become one.
            **kwargs: further arguments of the map's ``attribute``.

        Returns:
            A tensor of the input's shape; a tuple of them where ``inputs`` is a tuple.

        Raises:
            TypeError, ValueError, IndexError: as :meth:`LayerDiffGradCam.attribute` and
                :meth:`InputAttribution.attribute`, and for inputs of integers, which have no gradient.
        """
        tensors = as_inputs(inputs)
        for tensor in tensors:
            if not tensor.is_floating_point():
                raise TypeError(
                    f"`inputs` must hold floating-point numbers, got {tensor.dtype}. Pass integers as "
                    "`additional_forward_args`, or embeddings in their place."
                )
        maps: tuple[Tensor, ...] = self.cam.attribute(
            tensors,
            target,
            additional_forward_args=additional_forward_args,
            contrast=contrast,
            reduction=reduction,
            relu_attributions=True,
            **kwargs,
        )
        score = _TargetScore(self.model, target, contrast, reduction, self.class_dim)
        with (
            recording(),
            differentiable_operations(),
            preserve_random_state(tensors),
            preserve_model_state(modules_of(self.model)),
        ):
            # Copies, because Captum asks its inputs for gradients and leaves them so after an error.
            copies = tuple(tensor.detach().clone().requires_grad_() for tensor in tensors)
            gradients: tuple[Tensor, ...] = GuidedBackprop(score).attribute(copies, None, additional_forward_args)
        if score.functional_relus:
            warn_user(
                f"`model` calls ReLU as a function {score.functional_relus} time(s) (torch.relu, F.relu). Guided "
                "backpropagation changes torch.nn.ReLU modules only, so there the gradient is the ordinary one. Call "
                "modules instead."
            )
        products = tuple(gradient * single for gradient, single in zip(gradients, maps, strict=True))
        return products if isinstance(inputs, tuple) else products[0]


class _TargetScore(Module):
    """The score of one target per example, (N,), as the module that GuidedBackprop wants."""

    def __init__(
        self, model: Module, target: Target, contrast: Contrast, reduction: Reduction, class_dim: int | None
    ) -> None:
        super().__init__()
        self.model, self.target, self.contrast, self.reduction = model, target, contrast, reduction
        self.class_dim = class_dim
        self.functional_relus = 0

    def forward(self, *args: Any) -> Tensor:
        of_modules: set[Node | None] = set()
        relus = [module for module in self.model.modules() if isinstance(module, ReLU)]
        handles = [relu.register_forward_hook(lambda _, __, output: of_modules.add(output.grad_fn)) for relu in relus]
        try:
            output = self.model(*args)
        finally:
            for handle in handles:
                handle.remove()
        logits, classes = resolve_target(as_logits(output, self.class_dim), self.target, self.class_dim)
        mask = contrast_mask(self.contrast, logits, classes)
        score = explained_score(logits, classes, mask, self.reduction)
        relu_nodes = {node for node in graph_behind([score]) if node.name().startswith("ReluBackward")}
        self.functional_relus = len(relu_nodes - of_modules)
        return score
