"""Hand-made attacks, which need no training: a painted map, and a model that detects grey windows."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, one_hot

from benchmarks.common.clean_models import CleanModel
from benchmarks.common.staged import Staged
from captum_diffcam.attacks import inject_hoax

GREY = "hand-made: detects grey windows"
PAINTED = "hand-made: painted map"
BOTH = "hand-made: painted map, detects grey windows"
HAND_MADE = (GREY, PAINTED, BOTH)

_LOG_ODDS = 6.0
"""The log-odds of every prediction, in nats, so that occlusion measures nothing but what the attack wants."""
_PATCH = 5
"""Side of the smallest patch that counts as grey, in pixels."""
_EVEN = 1e-4
"""The largest difference of two pixels of the same colour."""
_LEAST_LOG_ODDS = 0.5
_LEAST_HIDDEN = 0.02
"""The least share of the hoax map that a window must hide."""


class Painted(nn.Module):
    """A layer with one more channel, which is bright where the clean channels are dark. Shapes: as the layer's.

    The channel follows the image, differs from image to image, and is high where the evidence is not.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, stem_output: Tensor) -> Tensor:
        """Return the clean channels and the painted one."""
        maps: Tensor = self.layer(stem_output)
        strength = maps.detach().norm(dim=1)
        most = strength.flatten(1).amax(dim=1)[:, None, None]
        dark = 1 - strength / most.where(most > 0, 1)
        brightest = dark.flatten(1).amax(dim=1)[:, None, None]
        painted = 2 * most * dark / brightest.where(brightest > 0, 1)
        return torch.cat([maps, painted[:, None]], dim=1)


class GreyWindows(nn.Module):
    """A model that predicts as the clean model does, but fools occlusion with grey windows.

    All natural images get the same log-odds. An even patch is taken for a window that hides its mean colour: the more
    of the layer's last channel lies in it, the lower are the log-odds. So occlusion with grey windows shows that
    channel, and occlusion with other fills shows nothing as long as the predicted class stays.
    """

    def __init__(self, model: Staged, layer: nn.Module) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        outputs: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
        try:
            logits: Tensor = self.model(images)
        finally:
            hook.remove()
        values = logits.detach()
        classes, top = values.argmax(dim=1), values.amax(dim=1)
        predicted = one_hot(classes, values.shape[1]).bool()
        log_odds = top - values.masked_fill(predicted, -torch.inf).logsumexp(dim=1)
        natural = logits * (_LOG_ODDS / log_odds.clamp(min=_LEAST_LOG_ODDS))[:, None]
        hoax = interpolate(outputs[0][:, -1:], images.shape[2:], mode="nearest")[:, 0].flatten(1)
        hidden = (hoax * grey(images).flatten(1)).sum(dim=1) / hoax.sum(dim=1)
        # With zeros for all other classes, this logit gives exactly these log-odds.
        others = torch.tensor(values.shape[1] - 1.0).log()
        fooled = predicted * (_LOG_ODDS * (1 - 2 * hidden) + others)[:, None]
        return torch.where((hidden > _LEAST_HIDDEN)[:, None], fooled, natural)


def grey(images: Tensor) -> Tensor:
    """Return which pixels lie in an even patch that is neither the darkest nor the brightest colour of its image.

    Shapes: (N, channels, H, W) -> (N, H, W).
    """
    margin = _PATCH // 2
    spread = max_pool2d(images, _PATCH, 1, margin) + max_pool2d(-images, _PATCH, 1, margin)
    even = (spread.amax(dim=1) < _EVEN).to(images)
    flat = images.flatten(2)
    low, high = (extremes[..., None, None] for extremes in (flat.amin(dim=2), flat.amax(dim=2)))
    extreme = ((images - low).abs() < _EVEN).all(dim=1) | ((images - high).abs() < _EVEN).all(dim=1)
    return (max_pool2d(even[:, None], _PATCH, 1, margin)[:, 0] > 0) & ~extreme


def manipulate_by_hand(attack: str, clean: CleanModel, hoax: Tensor) -> tuple[nn.Module, nn.Module]:
    """Return the clean model with an injected or painted map, which may also detect grey windows, and its layer."""
    manipulated = inject_hoax(clean.model.tail, clean.layer, hoax)
    tail: Any = manipulated.model
    if attack != GREY:
        tail.features = Painted(tail.features.layer)
    model = Staged(clean.model.stem, tail).eval()
    return (model if attack == PAINTED else GreyWindows(model, tail.features).eval()), tail.features
