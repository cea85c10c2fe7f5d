"""Names of methods, models and settings in options, records and tables. Nothing here takes time to import."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

LITE0 = "efficientnet-lite0"
"""The default model."""
MOBILENET, LITE1 = "mobilenet_v2", "efficientnet-lite1"
"""Models whose weights are in packages that need not be installed."""

GRAD_CAM, GRAD_CAM_PLUS_PLUS = "LayerGradCam", "Grad-CAM++"
DIFF, DIFF_PLUS_PLUS = "DiffGradCAM", "DiffGradCAM++"
FAMILIES = {GRAD_CAM: DIFF, GRAD_CAM_PLUS_PLUS: DIFF_PLUS_PLUS}
"""The contrastive method of each plain one."""

CUTOUTS = "cut-outs, 1000 classes"
CLOTHES, SHOES, ONE_LOGIT = (f"Fashion-MNIST, {what}" for what in ("10 classes", "2 classes", "one logit"))
GLYPHS_BY_CLASSES = {classes: f"glyphs, {classes} classes" for classes in (2, 10, 100)}
GLYPHS_2, GLYPHS, GLYPHS_100 = GLYPHS_BY_CLASSES.values()
SETTINGS = (CUTOUTS, CLOTHES, SHOES, ONE_LOGIT, GLYPHS, GLYPHS_2, GLYPHS_100)
"""The settings of the models that are attacked and audited: their images and classes."""

Reduction: TypeAlias = Literal["logsumexp", "mean", "max"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
