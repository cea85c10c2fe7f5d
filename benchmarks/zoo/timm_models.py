"""A small model of each of many families of timm, where timm is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

PREFIX = "timm/"
FAMILIES = (
    "cait_xxs24_224",
    "coat_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "convnext_tiny",
    "cpubone_nano",
    "crossvit_tiny_240",
    "cs3darknet_focus_s",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "dla34",
    "eca_botnext26ts_256",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientformerv2_s0",
    "efficientvim_m1",
    "efficientvit_b0",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fasternet_t0",
    "fastvit_t8",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "gernet_s",
    "gmlp_ti16_224",
    "hiera_tiny_224",
    "hrnet_w18_small",
    "iformer_t",
    "inception_next_atto",
    "levit_128s",
    "lowformer_b0",
    "mambaout_femto",
    "maxvit_tiny_rw_224",
    "mnasnet_small",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "mvitv2_tiny",
    "nest_tiny",
    "nextvit_small",
    "nf_regnet_b0",
    "pit_ti_224",
    "poolformer_s12",
    "pvt_v2_b0",
    "regnetx_004_tv",
    "repvit_m1",
    "resnest14d",
    "rexnet_100",
    "sequencer2d_s",
    "shvit_s1",
    "starnet_s050",
    "swiftformer_xs",
    "swin_tiny_patch4_window7_224",
    "swinv2_cr_tiny_224",
    "swinv2_tiny_window8_256",
    "test_vit_relpos",
    "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224",
    "twins_svt_small",
    "visformer_tiny",
    "vit_tiny_patch16_224",
    "vit_tiny_r_s16_p8_224",
    "vitamin_small_224",
    "volo_d1_224",
    "xception41p",
    "xcit_tiny_12_p8_224",
)
_SMALL = 128


def timm_models() -> list[str]:
    """Return their names with the prefix, and none if timm is not installed."""
    return [PREFIX + name for name in FAMILIES] if importlib.util.find_spec("timm") else []


def build(name: str, size: tuple[int, int] = (_SMALL, _SMALL)) -> tuple[nn.Module, tuple[int, int]]:
    """Return the model with random weights in eval mode, and a size of images that it takes, near the given one."""
    import timm

    name = name.removeprefix(PREFIX)
    model: Any = timm.create_model(name).eval()
    side = model.default_cfg["input_size"][-1]
    # Some take one size alone, which some of these let one choose.
    own = (side, side if size[0] == size[1] else 2 * side)
    if _takes(model, size):
        return model, size
    if own[0] != own[1]:
        try:
            model = timm.create_model(name, img_size=own).eval()
        except (TypeError, AssertionError, RuntimeError, ValueError):
            own = (side, side)
        if not _takes(model, own):
            own = (side, side)
            model = timm.create_model(name).eval()
    return model, own


def _takes(model: nn.Module, size: tuple[int, int]) -> bool:
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, *size))
    except (RuntimeError, AssertionError, ValueError):
        return False
    return True
