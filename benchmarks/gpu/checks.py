"""Checks that a map on a device is the map of the CPU in float32."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam, top_rivals

FLOAT32, TF32, FLOAT16, BFLOAT16 = 1e-4, 1e-2, 2e-2, 0.1
"""The largest relative error that passes, by precision. They were set before any GPU was used: a GPU adds in another
order than a CPU, TF32 and float16 have 10 bits behind the point, and bfloat16 has 7."""


@dataclass(frozen=True)
class Check:
    """A map on the device, the map of the CPU, and the largest relative error that passes."""

    name: str
    on_device: Callable[[], Tensor]
    on_cpu: Callable[[], Tensor]
    limit: float = FLOAT32

    def run(self) -> dict[str, Any]:
        """Return the relative error, or the error message if there is no map."""
        expected = self.on_cpu().detach()
        try:
            with torch.backends.cudnn.flags(allow_tf32=self.limit != FLOAT32):
                maps = self.on_device().detach().float().cpu()
        except Exception as error:  # the message is the result
            return {
                "check": self.name,
                "limit": self.limit,
                "error": f"{type(error).__name__}: {error}",
                "passed": False,
            }
        difference = float((maps - expected).abs().max() / expected.abs().max())
        return {"check": self.name, "limit": self.limit, "difference": difference, "passed": difference <= self.limit}


class _Recurrent(nn.Module):
    """A convolution over time, and a recurrent layer behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(4, 8, 3, padding=1)
        self.lstm, self.head = nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 5)

    def forward(self, series: Tensor) -> Tensor:
        features = self.conv(series).relu().transpose(1, 2)
        logits: Tensor = self.head(self.lstm(features)[0][:, -1])
        return logits


def checks(device: str, *, side: int, volume_side: int) -> Iterator[Check]:
    """Yield all checks. ``side`` and ``volume_side`` are the sizes of images and volumes."""
    images, classes = torch.rand(4, 3, side, side), torch.tensor([1, 2, 3, 4])
    there = images.to(device)
    net = torchvision.models.resnet18().eval()
    moved = copy.deepcopy(net).to(device)

    def maps(model: nn.Module, inputs: Tensor, **kw: Any) -> Tensor:
        layer = (model.module if isinstance(model, nn.DataParallel) else model).get_submodule("layer3")
        method: Any = kw.pop("method", LayerDiffGradCam)
        result: Tensor = method(model, layer).attribute(inputs, kw.pop("target", classes.to(inputs.device)), **kw)
        return result

    def plain() -> Tensor:
        return maps(net, images)

    yield Check("float32", lambda: maps(moved, there), plain)
    yield Check("float32, convolutions in TF32 (the default of PyTorch)", lambda: maps(moved, there), plain, TF32)
    yield Check("target on the CPU", lambda: maps(moved, there, target=classes), plain)
    for method in (LayerDiffGradCamPlusPlus, LayerDiffHiResCam):
        yield Check(
            method.__name__,
            lambda method=method: maps(moved, there, method=method),  # type: ignore[misc]
            lambda method=method: maps(net, images, method=method),  # type: ignore[misc]
        )
    yield Check(
        "a map for each of three rivals",
        lambda: LayerDiffGradCam(moved, moved.layer3).attribute_rivals(there, classes, top_rivals(3)).maps,
        lambda: LayerDiffGradCam(net, net.layer3).attribute_rivals(images, classes, top_rivals(3)).maps,
    )
    for dtype, limit in ((torch.bfloat16, BFLOAT16), (torch.float16, FLOAT16)):
        name = str(dtype).removeprefix("torch.")

        def with_autocast(dtype: torch.dtype = dtype) -> Tensor:
            with torch.autocast(there.device.type, dtype):
                return maps(moved, there)

        def with_weights(dtype: torch.dtype = dtype) -> Tensor:
            return maps(copy.deepcopy(moved).to(dtype), there.to(dtype))

        yield Check(f"autocast to {name}", with_autocast, plain, limit)
        yield Check(f"weights in {name}", with_weights, plain, limit)
    last = torch.channels_last
    yield Check(
        "channels last",
        lambda: maps(copy.deepcopy(moved).to(memory_format=last), there.to(memory_format=last)),
        plain,
    )
    yield Check(
        "torch.compile",
        lambda: LayerDiffGradCam(torch.compile(moved), moved.layer3).attribute(there, classes),
        plain,
    )
    yield Check("DataParallel", lambda: maps(nn.DataParallel(moved), there), plain)

    recurrent, series = _Recurrent().eval(), torch.rand(3, 4, 20)
    recurrent_there = copy.deepcopy(recurrent).to(device)
    yield Check(
        "an LSTM behind the layer, in eval mode",
        lambda: LayerDiffGradCam(recurrent_there, "conv").attribute(series.to(device), 1),
        lambda: LayerDiffGradCam(recurrent, "conv").attribute(series, 1),
    )
    head = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3))
    volumes = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), *head).eval()
    volume = torch.rand(1, 1, *[volume_side] * 3)
    yield Check(
        "a volume in float16",
        lambda: LayerDiffGradCam(copy.deepcopy(volumes).to(device).half(), "1").attribute(volume.to(device).half(), 1),
        lambda: LayerDiffGradCam(volumes, "1").attribute(volume, 1),
        FLOAT16,
    )
