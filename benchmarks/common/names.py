"""Names of methods and of the model, as options, records and tables have them. Nothing here takes time to import."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

LITE0 = "efficientnet-lite0"
"""The model that is explained where none is named."""

GRAD_CAM, GRAD_CAM_PLUS_PLUS = "LayerGradCam", "Grad-CAM++"
DIFF, DIFF_PLUS_PLUS = "DiffGradCAM", "DiffGradCAM++"
FAMILIES = {GRAD_CAM: DIFF, GRAD_CAM_PLUS_PLUS: DIFF_PLUS_PLUS}
"""The contrastive method of each plain one."""

CUTOUTS = "cut-outs, 1000 classes"
CLOTHES, SHOES, ONE_LOGIT = (f"Fashion-MNIST, {what}" for what in ("10 classes", "2 classes", "one logit"))
GLYPHS_2, GLYPHS, GLYPHS_100 = (f"glyphs, {classes} classes" for classes in (2, 10, 100))
SETTINGS = (CUTOUTS, CLOTHES, SHOES, ONE_LOGIT, GLYPHS, GLYPHS_2, GLYPHS_100)
"""What the models that are attacked and audited classify."""

Reduction: TypeAlias = Literal["logsumexp", "mean", "max"]
REDUCTIONS: tuple[Reduction, ...] = get_args(Reduction)
