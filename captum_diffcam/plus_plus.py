"""DiffGradCAM++: the same score with another weighting of channels."""

from __future__ import annotations

from captum_diffcam.attribution import LayerDiffGradCam
from captum_diffcam.weighting import grad_cam_plus_plus_weights


class LayerDiffGradCamPlusPlus(LayerDiffGradCam):
    r"""DiffGradCAM++: the contrast score of :class:`LayerDiffGradCam` with the weights of Grad-CAM++.

    .. math::
        M = \sum_k \Bigl( \sum_i \frac{g^+_{k,i}}{2 + g^+_{k,i} \sum_j A^+_{k,j}} \Bigr) A_k, \qquad
        g = \frac{\partial D}{\partial A}, \quad x^+ = \max(x, 0) .

    As in Grad-CAM++, :math:`Y = e^D` is differentiated and :math:`D` is taken as piecewise linear in :math:`A`; the
    factor :math:`e^D`, which scales a whole map, is left out. So the weights are the source's for ``mean``, ``max`` and
    one rival, on layers without negative activations. For ``logsumexp`` the shares of the rivals are taken as constant.
    With negative activations the source's denominator may vanish; with :math:`A^+` it never does.

    An empty contrast set gives plain Grad-CAM++, which Captum lacks. Arguments are those of :class:`LayerDiffGradCam`.

    Sources: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514; A. Chattopadhay et al., "Grad-CAM++",
    arXiv:1710.11063. The rule for signed layers is ours.

    Example:
        >>> import torch
        >>> from captum_diffcam import LayerDiffGradCamPlusPlus, top_rivals
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3)
        >>> pool = torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = LayerDiffGradCamPlusPlus(model, conv)
        >>> images = torch.rand(2, 3, 32, 32)
        >>> cam.attribute(images, target=[3, 7], contrast=top_rivals(5)).shape
        torch.Size([2, 1, 30, 30])
    """

    channel_weights = staticmethod(grad_cam_plus_plus_weights)
