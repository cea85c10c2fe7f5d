"""What the cost benchmark says, in words."""

from __future__ import annotations

from typing import Any


def verdict(record: dict[str, Any]) -> list[str]:
    """What maps take beside a forward pass and beside Captum's, and what was not reached."""
    value = {row["figure"]: row["value"] for row in record["targets"]}
    to_forward, to_captum = (value[f"a map, late layer, time to {base}"] for base in ("a bare forward", "LayerGradCam"))
    explained = value["classify and explain, late layer, time to a bare forward"]
    rivals = value["the same against five rivals, a map each, time to a bare forward"]
    said = [
        f"A map of a late layer takes {to_forward:.2f} times as long as a forward pass without any map, and "
        f"{to_captum:.2f} times as long as Captum's LayerGradCam. To classify and explain takes {explained:.2f} times "
        f"as long as to classify; with maps against the five strongest rivals, {rivals:.2f} times."
    ]
    alone = [row["value"] for row in record["single_images"]]
    said.append(
        f"Of a single image a map takes {alone[0]:.2f} times as long as a forward and {alone[1]:.2f} times as long as "
        "LayerGradCam."
    )
    memory = value.get("a map, resnet50, batch 32, late layer, memory to a bare forward")
    if memory is not None:
        share = value["a map, resnet50, batch 32, late layer, memory to LayerGradCam"]
        said.append(
            f"A map's memory is {memory:.2f} times that of the forward pass and {share:.2f} times LayerGradCam's "
            "(ResNet-50, 32 images)."
        )
    missed = [row["figure"] for row in record["targets"] if not row["reached"]]
    said.append(f"Not reached: {'; '.join(missed)}." if missed else "All targets are reached.")
    return said
