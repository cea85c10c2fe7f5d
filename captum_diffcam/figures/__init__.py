"""Draw maps over their images: as arrays, and as figures that name the classes.

The functions take what :meth:`~captum_diffcam.LayerDiffGradCam.attribute`,
:meth:`~captum_diffcam.LayerDiffGradCam.explain` and :meth:`~captum_diffcam.LayerDiffGradCam.attribute_rivals` return.
"""

from captum_diffcam.figures.overlays import blended_colours, heatmap, overlay
from captum_diffcam.figures.rows import AGAINST, FOR
from captum_diffcam.figures.show import show_maps, show_rivals

__all__ = ["AGAINST", "FOR", "blended_colours", "heatmap", "overlay", "show_maps", "show_rivals"]
