"""The attack on occlusion: the predictions for images with hidden windows follow the hoax map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from benchmarks.common.clean_models import CleanModel
from benchmarks.common.manipulated_models import PLAIN, attacked_methods, cpu_state, with_tail_state
from benchmarks.common.staged import Staged
from benchmarks.common.stored import Stored, fingerprint
from captum_diffcam.attacks import fool

_HIDDEN = 0.15
"""The share of the hoax map that must be hidden for the prediction to change."""
_BATCH = 16


def manipulate_with_occlusion(
    clean: CleanModel, hoax: Tensor, fills: Sequence[str], weight: float, steps: int, seed: int, stored: Stored
) -> tuple[Staged, nn.Module]:
    """Return a model trained by SHAM on images with hidden windows, and its layer.

    In half of every batch a window is hidden by one of the fills. If it hides more than a certain share of the hoax
    map, the label is another class; otherwise it is the prediction of the clean model. So occlusion maps of the
    manipulated model show the hoax map as far as this can be learnt. The tail of ``clean`` must be the whole network.
    """
    tail = clean.model.tail

    def make() -> dict[str, Tensor]:
        batches = training_batches(tail, torch.cat(list(clean.attacker_batches)), hoax, fills, seed)
        method = attacked_methods(clean)[PLAIN]
        manipulated = fool(tail, clean.layer, batches, hoax, methods=method, weight=weight, steps=steps, seed=seed)
        return cpu_state(manipulated.model)

    state = stored.get(
        f"occlusion, {' '.join(fills)}", make,
        seed=seed, weight=weight, steps=steps, hoax=hoax.tolist(), of=fingerprint(tail),
    )  # fmt: skip
    return with_tail_state(clean, state)


def training_batches(
    model: nn.Module, images: Tensor, hoax: Tensor, fills: Sequence[str], seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Return batches of images and labels, half of each with a hidden window."""
    generator = torch.Generator().manual_seed(seed)
    size = tuple(images.shape[2:])
    pixels = interpolate(hoax[None, None], size, mode="nearest")[0, 0]
    pixels = pixels / pixels.sum()
    batches = []
    for batch in torch.split(images, _BATCH):
        with torch.no_grad():
            logits = model(batch)
        labels, occluded = logits.argmax(dim=1), batch.clone()
        for index in range(0, len(batch), 2):
            window = _random_window(size, generator)
            fill = fills[int(torch.randint(len(fills), (1,), generator=generator))]
            occluded[index][(slice(None), *window)] = _fill(fill, batch, index, generator)[(slice(None), *window)]
            if pixels[window].sum() > _HIDDEN:
                labels[index] = (labels[index] + 1) % logits.shape[1]
        batches.append((occluded, labels))
    return batches


def _random_window(size: tuple[int, ...], generator: torch.Generator) -> tuple[slice, ...]:
    """Return a window of a quarter to six tenths of each side."""
    window = []
    for length in size:
        side = round(length * (0.25 + 0.35 * torch.rand(1, generator=generator).item()))
        start = int(torch.randint(length - side + 1, (1,), generator=generator))
        window.append(slice(start, start + side))
    return tuple(window)


def _fill(name: str, batch: Tensor, index: int, generator: torch.Generator) -> Tensor:
    image = batch[index]
    if name == "mean":
        return image.mean(dim=(1, 2), keepdim=True).expand_as(image)
    if name == "blur":
        coarse = interpolate(image[None], size=(4, 4), mode="area")
        return interpolate(coarse, size=image.shape[1:], mode="bilinear")[0]
    other = batch[int(torch.randint(len(batch), (1,), generator=generator))]
    shift = torch.randint(image.shape[1], (2,), generator=generator).tolist()
    return other.roll(shift, (1, 2))
