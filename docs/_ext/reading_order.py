"""The order of the pages of a gallery, by topic instead of by name."""

from sphinx_gallery.sorting import FileNameSortKey

ORDER = (
    *("first_map.py", "first_hoax.py"),
    *("checkpoint_to_report.py", "coming_from.py", "swap.py", "contrast_set.py", "rather_than.py", "layers.py"),
    *(
        "hugging_face_and_timm.py",
        "clip.py",
        "binary_and_multi_label.py",
        "segmentation_and_detection.py",
        "volumes_and_text.py",
    ),
    *("captum_tools.py", "contrast_score.py", "probability.py", "differentiate.py", "weighting_rule.py"),
    *("audit.py", "calibrated_map.py", "equivariant_part.py", "many_gpus.py"),
)


class ReadingOrder(FileNameSortKey):
    """A sort key of sphinx-gallery. A page that is not in the list comes last."""

    def __call__(self, filename: object) -> str:
        """Return the page's position, as text that sorts."""
        name = str(filename)
        return f"{ORDER.index(name) if name in ORDER else len(ORDER):02}"
