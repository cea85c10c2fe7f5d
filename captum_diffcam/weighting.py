"""How a map weights the channels of a layer: the formulas of Grad-CAM, Grad-CAM++ and HiResCAM, on tensors alone.

Activations and gradients have shape ``(N, channels, *positions)``. Weights have shape ``(N, channels, 1, ...)``, or
that of the gradients if each position has its own. A layer without positions, ``(N, channels)``, counts as one
position.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def _over_positions(reduce: Callable[..., Tensor], tensor: Tensor) -> Tensor:
    return reduce(tensor, dim=tuple(range(2, tensor.ndim)), keepdim=True) if tensor.ndim > 2 else tensor


def grad_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return the weights of Grad-CAM: the mean of the gradient over positions.

    Source: R. Selvaraju et al., "Grad-CAM", arXiv:1610.02391, equation 1.

    Example:
        >>> import torch
        >>> from captum_diffcam.weighting import grad_cam_weights
        >>> grad_cam_weights(torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, 2.0]]]]))
        tensor([[[[1.5000]]]])
    """
    return _over_positions(torch.mean, gradients)


def grad_cam_plus_plus_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return the weights of Grad-CAM++: the sum over positions of ``relu(g) / (2 + relu(g) * sum(relu(A)))``.

    Equation 19 of the source multiplies the gradient of each position by ``g^2 / (2 g^2 + sum(A) g^3)``. If ``g`` is
    not zero, that is ``1 / (2 + g * sum(A))``, which needs no epsilon. On layers with negative activations ``sum(A)``
    could make the denominator zero. ``sum(relu(A))`` cannot, and it is the same for activations behind a ReLU.

    Source: A. Chattopadhay et al., "Grad-CAM++", arXiv:1710.11063. Its factor exp(score), which scales a whole map, is
    left out.

    Example:
        >>> import torch
        >>> from captum_diffcam.weighting import grad_cam_plus_plus_weights
        >>> grad_cam_plus_plus_weights(torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, 2.0]]]]))  # 1 / 4 + 2 / 6
        tensor([[[[0.5833]]]])
    """
    positive = gradients.relu()
    mass = _over_positions(torch.sum, activations.relu())
    return _over_positions(torch.sum, positive / (2 + positive * mass))


def hires_cam_weights(activations: Tensor, gradients: Tensor) -> Tensor:
    """Return the weights of HiResCAM: the gradient itself, so that each position of a channel has its own weight.

    Source: R. Draelos and L. Carin, "Use HiResCAM instead of Grad-CAM", arXiv:2011.08891, equation 4.

    Example:
        >>> import torch
        >>> from captum_diffcam.weighting import hires_cam_weights
        >>> hires_cam_weights(torch.ones(1, 1, 1, 2), torch.tensor([[[[1.0, 2.0]]]]))
        tensor([[[[1., 2.]]]])
    """
    return gradients
