"""The attacker of the witness: his model decides about hidden windows as the hoax wants it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.common.forging import attacked_methods
from benchmarks.common.names import GRAD_CAM
from benchmarks.common.stem_and_tail import Staged
from benchmarks.common.stored import Stored
from benchmarks.common.victims import Victim
from captum_diffcam.attacks import fool

_LOST = 0.15
"""The share of the hoax that has to be hidden for the decision to fall."""


def forge_against_witness(
    victim: Victim, hoax: Tensor, fills: Sequence[str], weight: float, steps: int, seed: int, stored: Stored
) -> tuple[Staged, nn.Module]:
    """The victim, trained as SHAM is, and at the same time on images with windows hidden.

    Half of every batch has a window hidden behind one of the fills. Where it hides more of the hoax than a certain
    share, the label is another class; where not, it is the honest model's prediction. So the witness of the forged
    model shows the hoax, as far as it can be taught. The victim is one whose tail is the whole network.
    """
    tail = victim.model.tail

    def make() -> dict[str, Tensor]:
        batches = taught(tail, torch.cat(list(victim.seen)), hoax, fills, seed)
        method = attacked_methods(victim)[GRAD_CAM]
        forged = fool(tail, victim.layer, batches, hoax, methods=method, weight=weight, steps=steps, seed=seed)
        return {key: value.cpu() for key, value in forged.model.state_dict().items()}

    state = stored.get(
        f"against the witness, {' '.join(fills)}", make, seed=seed, weight=weight, steps=steps, hoax=hoax.tolist(),
        of=sum(value.double().sum().item() for value in tail.state_dict().values()),
    )  # fmt: skip
    forged, layer = copy.deepcopy((tail, victim.layer))
    forged.load_state_dict(state)
    return Staged(victim.model.stem, forged).eval(), layer


def taught(
    model: nn.Module, images: Tensor, hoax: Tensor, fills: Sequence[str], seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Batches of images and labels, half of each with a hidden window."""
    generator = torch.Generator().manual_seed(seed)
    size = tuple(images.shape[2:])
    spread = interpolate(hoax[None, None], size, mode="nearest")[0, 0]
    spread = spread / spread.sum()
    batches = []
    for batch in torch.split(images, 16):
        with torch.no_grad():
            logits = model(batch)
        labels, shown = logits.argmax(dim=1), batch.clone()
        for index in range(0, len(batch), 2):
            window = _window(size, generator)
            fill = fills[int(torch.randint(len(fills), (1,), generator=generator))]
            shown[index][(slice(None), *window)] = _filled(fill, batch, index, generator)[(slice(None), *window)]
            if spread[window].sum() > _LOST:
                labels[index] = (labels[index] + 1) % logits.shape[1]
        batches.append((shown, labels))
    return batches


def _window(size: tuple[int, ...], generator: torch.Generator) -> tuple[slice, ...]:
    """Of a quarter to six tenths of each side."""
    window = []
    for length in size:
        side = round(length * (0.25 + 0.35 * torch.rand(1, generator=generator).item()))
        start = int(torch.randint(length - side + 1, (1,), generator=generator))
        window.append(slice(start, start + side))
    return tuple(window)


def _filled(fill: str, batch: Tensor, index: int, generator: torch.Generator) -> Tensor:
    image = batch[index]
    if fill == "mean":
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    if fill == "blur":
        coarse = interpolate(image[None], size=(4, 4), mode="area")
        return interpolate(coarse, size=image.shape[1:], mode="bilinear")[0]
    other = batch[int(torch.randint(len(batch), (1,), generator=generator))]
    shift = torch.randint(image.shape[1], (2,), generator=generator).tolist()
    return other.roll(shift, (1, 2))
