"""What the cost benchmark says, in words."""

from __future__ import annotations

from typing import Any


def verdict(record: dict[str, Any]) -> list[str]:
    """What a map takes beside a forward pass and beside Captum's, what more rivals take, and what was not reached."""
    value = {row["figure"]: row["value"] for row in record["targets"]}
    to_forward = value["time, geometric mean over models, late layer, to a bare forward"]
    to_captum = value["time, geometric mean over models, late layer, to LayerGradCam"]
    rivals = value["ten rivals, to one map"]
    said = [
        f"A map of a late layer takes {to_forward:.2f} times as long as a forward pass without any map, and "
        f"{to_captum:.2f} times as long as Captum's LayerGradCam; maps for ten rivals take {rivals:.2f} times one."
    ]
    memory = value.get("peak memory, resnet50, batch 32, late layer, to a bare forward")
    if memory is not None:
        less = value["peak memory of LayerGradCam there, to ours"]
        said.append(
            f"Its memory is {memory:.2f} times that of the forward pass, LayerGradCam's {less:.1f} times that of ours "
            "(ResNet-50, 32 images)."
        )
    missed = [row["figure"] for row in record["targets"] if not row["reached"]]
    said.append(f"Not reached: {'; '.join(missed)}." if missed else "All targets are reached.")
    return said
