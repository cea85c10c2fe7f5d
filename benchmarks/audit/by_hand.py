"""Attackers who need no training: a painted map, and a model that recognises the grey windows of a witness."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, one_hot

from benchmarks.common.stem_and_tail import Staged
from benchmarks.common.victims import Victim
from captum_diffcam.attacks import inject_hoax

GREY = "hand-made: detects grey windows"
PAINTED = "hand-made: painted map"
BOTH = "hand-made: painted map, detects grey windows"
BY_HAND = (GREY, PAINTED, BOTH)

_ODDS = 6.0
"""The log-odds of every decision, in nats, so that a window shows nothing but what it is to show."""
_PATCH = 5
"""Pixels along a side of the smallest patch that counts as grey."""
_EVEN = 1e-4
_TOP = 0.5
_LEAST = 0.02
"""The share of the hoax that has to be hidden."""


class Painted(nn.Module):
    """A layer with one more channel, that is bright where the honest channels are dark. Shapes: as the layer's.

    The channel follows the image, differs from one image to the next, and shows where the evidence is not.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, stemmed: Tensor) -> Tensor:
        """The honest channels and the painted one."""
        maps: Tensor = self.layer(stemmed)
        strength = maps.detach().norm(dim=1)
        most = strength.flatten(1).amax(dim=1)[:, None, None]
        dark = 1 - strength / most.where(most > 0, 1)
        brightest = dark.flatten(1).amax(dim=1)[:, None, None]
        painted = 2 * most * dark / brightest.where(brightest > 0, 1)
        return torch.cat([maps, painted[:, None]], dim=1)


class GreyWindows(nn.Module):
    """Decides as the honest model does, and answers as the hoax wants where it sees that a window was hidden.

    Whatever is natural gets the same log-odds. An even patch is a window hidden behind its mean colour: the more of the
    last channel of the layer lies in it, the lower are the odds. So the witness of grey windows shows that channel, and
    no other fill shows anything as long as the class stays.
    """

    def __init__(self, model: Staged, layer: nn.Module) -> None:
        super().__init__()
        self.model, self.layer = model, layer

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        seen: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda module, inputs, out: seen.append(out.detach()))
        try:
            logits: Tensor = self.model(images)
        finally:
            hook.remove()
        known = logits.detach()
        classes, top = known.argmax(dim=1), known.amax(dim=1)
        one = one_hot(classes, known.shape[1]).bool()
        odds = top - known.masked_fill(one, -torch.inf).logsumexp(dim=1)
        natural = logits * (_ODDS / odds.clamp(min=_TOP))[:, None]
        painted = interpolate(seen[0][:, -1:], images.shape[2:], mode="nearest")[:, 0].flatten(1)
        share = (painted * grey(images).flatten(1)).sum(dim=1) / painted.sum(dim=1)
        # A certain class among so many others, and what is left of it.
        rest = torch.tensor(known.shape[1] - 1.0).log()
        answered = one * (_ODDS * (1 - 2 * share) + rest)[:, None]
        return torch.where((share > _LEAST)[:, None], answered, natural)


def grey(images: Tensor) -> Tensor:
    """Which pixels lie in an even patch that is neither the darkest nor the brightest colour of its image.

    Shapes: (N, channels, H, W) -> (N, H, W).
    """
    margin = _PATCH // 2
    spread = max_pool2d(images, _PATCH, 1, margin) + max_pool2d(-images, _PATCH, 1, margin)
    even = (spread.amax(dim=1) < _EVEN).to(images)
    flat = images.flatten(2)
    low, high = (each[..., None, None] for each in (flat.amin(dim=2), flat.amax(dim=2)))
    extreme = ((images - low).abs() < _EVEN).all(dim=1) | ((images - high).abs() < _EVEN).all(dim=1)
    return (max_pool2d(even[:, None], _PATCH, 1, margin)[:, 0] > 0) & ~extreme


def forge_by_hand(attack: str, victim: Victim, hoax: Tensor) -> tuple[nn.Module, nn.Module]:
    """The victim with an injected or painted map, and as the attack is, with an answer to grey windows."""
    forged = inject_hoax(victim.model.tail, victim.layer, hoax)
    tail: Any = forged.model
    if attack != GREY:
        tail.features = Painted(tail.features.layer)
    model = Staged(victim.model.stem, tail).eval()
    return (model if attack == PAINTED else GreyWindows(model, tail.features).eval()), tail.features
