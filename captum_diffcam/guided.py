"""Guided backpropagation times the contrastive map: the counterpart of Captum's GuidedGradCam."""

from __future__ import annotations

from typing import Any

from captum.attr import GuidedBackprop
from captum.attr._utils.attribution import GradientAttribution
from captum.log import log_usage
from torch import Tensor
from torch.nn import Module

from captum_diffcam._checks import as_inputs
from captum_diffcam._internals import modules_of, preserve_model_state
from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.contrast import Contrast
from captum_diffcam.forward import recording
from captum_diffcam.input_attribution import InputAttribution
from captum_diffcam.logits import Target, as_logits, resolve_target
from captum_diffcam.score import Reduction, explained_score


class GuidedDiffGradCam(GradientAttribution):
    r"""Guided backpropagation of the contrast score, times its DiffGradCAM map: fine detail where the map is positive.

    .. math:: \operatorname{GuidedBackprop}(D) \odot \operatorname{upsample}(M^+)

    Sources: R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, section 3.3; the contrast score is that of
    :class:`LayerDiffGradCam`.

    Args:
        model: a :class:`torch.nn.Module` whose ReLUs are modules, as :class:`captum.attr.GuidedBackprop` asks.
        layer: as in :class:`LayerDiffGradCam`.
        cam: the class that makes the map, :class:`LayerDiffGradCam` or a subclass.
        **kwargs: further arguments of its constructor.

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
        self, model: Module, layer: Module, cam: type[LayerDiffGradCam] = LayerDiffGradCam, **kwargs: Any
    ) -> None:
        if not isinstance(model, Module):
            raise TypeError(f"model: got {type(model).__name__}; allowed is a torch.nn.Module")
        GradientAttribution.__init__(self, model)
        self.model = model
        self.cam = InputAttribution(cam(model, layer, **kwargs), "nearest")

    # NoiseTunnel calls ``attribute.__wrapped__``, which this decorator sets.
    @log_usage(part_of_slo=True)
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
            inputs: as in :meth:`LayerDiffGradCam.attribute`, and so are all other arguments.
            target: the class to explain.
            additional_forward_args: further arguments of the model.
            contrast: the classes to explain it against.
            reduction: how their logits become one.
            **kwargs: further arguments of the map's ``attribute``.

        Returns:
            A tensor of the input's shape; a tuple of them where ``inputs`` is a tuple.

        Raises:
            TypeError, ValueError, IndexError: as :meth:`LayerDiffGradCam.attribute`.
        """
        maps: Tensor | tuple[Tensor, ...] = self.cam.attribute(
            inputs,
            target,
            additional_forward_args=additional_forward_args,
            contrast=contrast,
            reduction=reduction,
            relu_attributions=True,
            **kwargs,
        )
        score = _TargetScore(self.model, target, contrast, reduction)
        with recording(), preserve_model_state(modules_of(self.model, [])):
            # Copies, because Captum asks its inputs for gradients and leaves them so after an error.
            copies = tuple(single.detach().clone().requires_grad_() for single in as_inputs(inputs))
            guided: tuple[Tensor, ...] = GuidedBackprop(score).attribute(copies, None, additional_forward_args)
        if isinstance(maps, tuple):
            return tuple(detail * single for detail, single in zip(guided, maps, strict=True))
        return guided[0] * maps


class _TargetScore(Module):
    """The score of one target per example, (N,), as a module, which GuidedBackprop wants."""

    def __init__(self, model: Module, target: Target, contrast: Contrast, reduction: Reduction) -> None:
        super().__init__()
        self.model, self.target, self.contrast, self.reduction = model, target, contrast, reduction

    def forward(self, *args: Any) -> Tensor:
        logits, classes = resolve_target(as_logits(self.model(*args)), self.target)
        return explained_score(logits, classes, self.contrast, self.reduction)
