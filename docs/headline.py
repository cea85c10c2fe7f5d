"""What contrastive maps gain and where they lose, in eight numbers: for the README and the index of results."""

from __future__ import annotations

import published

MEASURES = (
    ("gains: pixels of A told from pixels of B, two real objects (AUROC, higher is better)",
     "localization", "efficientnet-lite0, cut-outs", "AUROC", ".3f"),
    ("gains: share of the positive part that lies on B (lower is better)",
     "localization", "efficientnet-lite0, cut-outs", "energy on B", ".0%"),
    ("loses: effect of occlusion left unexplained, 200 classes (lower is better)",
     "prediction", "200 classes, 2 objects", "infidelity, own score", ".0%"),
    ("loses: largest change of the map under noise, photographs (lower is better)",
     "prediction", "efficientnet-lite0, photographs", "sensitivity", ".0%"),
)  # fmt: skip


def rows() -> list[list[str]]:
    """Return what is measured, the number of Grad-CAM, and that of the map against one rival."""
    estimates = published.record("faithfulness")["estimates"]
    cells = []
    for words, study, subject, measure, form in MEASURES:
        of_method = [
            published.row(estimates, study=study, subject=subject, images="all", measure=measure, method=method)[
                "value"
            ]
            for method in ("LayerGradCam", "DiffGradCAM, rival")
        ]
        cells.append([words, *(format(value, form).replace("%", " %") for value in of_method)])
    return cells
