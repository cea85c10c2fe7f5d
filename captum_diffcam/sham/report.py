"""What an audit found: a verdict, its evidence, and a figure of it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captum_diffcam.metrics import pearson

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INCHES = 1.9


@dataclass(frozen=True, eq=False)
class AuditReport:
    """The verdict of :func:`~captum_diffcam.sham.audit` with its evidence. ``print(report)`` tells it in words.

    Example:
        >>> import torch
        >>> from captum_diffcam.sham import AuditReport
        >>> cross = torch.tensor([[[0.0, 1, 0], [1, 2, 1], [0, 1, 0]]])
        >>> found = dict(images=torch.rand(1, 3, 9, 9), target=torch.tensor([3]), witness=cross, threshold=0.8)
        >>> maps, agreement = {"one": cross, "other": -cross}, {"one": torch.ones(1), "other": -torch.ones(1)}
        >>> print(AuditReport(maps=maps, agreement=agreement, **found))
        manipulated: score 2.00, threshold 0.80, 1 images
        1 images above the threshold; methods disagree with each other by 2.00
        agreement with what the decision depends on (mean correlation with the occlusion map):
           1.00  one
          -1.00  other
    """

    images: Tensor
    """``(N, channels, *size)``"""
    target: Tensor
    """(N,), the class that is explained."""
    witness: Tensor
    """By how many nats the log-odds fall when the surroundings of a cell are greyed out, ``(N, *positions)``."""
    maps: dict[str, Tensor]
    """``(N, *positions)`` for each method, signed."""
    agreement: dict[str, Tensor]
    """For each method Pearson's correlation of its maps with the witness, (N,); -1 where a map is not finite."""
    threshold: float
    """Above it a score is suspicious."""

    @property
    def scores(self) -> Tensor:
        """One minus the lowest agreement of any method with the witness, (N,), from 0 to 2."""
        return 1 - torch.stack(list(self.agreement.values())).amin(dim=0)

    @property
    def score(self) -> float:
        """The model's score, which is the mean over images."""
        return self.scores.mean().item()

    @property
    def suspicious(self) -> Tensor:
        """Whether an image's score is above the threshold, (N,). Of single images an honest model has some too."""
        return self.scores > self.threshold

    @property
    def manipulated(self) -> bool:
        """The verdict on the model, whether its score is above the threshold."""
        return self.score > self.threshold

    @property
    def disagreement(self) -> Tensor:
        """One minus the lowest correlation between any two methods, (N,), from 0 to 2.

        High where only some methods were fooled, and where close rivals part them on an honest model. An attack on all
        of them at once keeps it low, which is why the verdict does not depend on it.
        """
        pairs = [pearson(one, other) for one, other in combinations(self.maps.values(), 2)]
        return 1 - torch.stack(pairs).amin(dim=0) if pairs else torch.zeros_like(self.scores)

    def __str__(self) -> str:
        verdict = "manipulated" if self.manipulated else "no sign of manipulation"
        lines = [
            f"{verdict}: score {self.score:.2f}, threshold {self.threshold:.2f}, {len(self.images)} images",
            f"{int(self.suspicious.sum())} images above the threshold; "
            f"methods disagree with each other by {self.disagreement.mean():.2f}",
            "agreement with what the decision depends on (mean correlation with the occlusion map):",
        ]
        return "\n".join([*lines, *(f"  {value.mean():5.2f}  {name}" for name, value in self.agreement.items())])

    def figure(self, count: int = 4) -> Figure:
        """The images with the highest scores, with their witness and maps.

        Args:
            count: the number of images, at least 1.

        Returns:
            A :class:`matplotlib.figure.Figure`, to be shown or saved with ``savefig``.

        Raises:
            ValueError: the maps have not two dimensions, or there is nothing to draw.
        """
        if self.witness.ndim != 3 or count < 1:
            raise ValueError(
                f"count: got {count!r} for maps of {self.witness.ndim - 1} dimensions; allowed is at least 1"
            )
        from matplotlib.figure import Figure

        shown = self.scores.argsort(descending=True)[:count].tolist()
        columns = {"occlusion": self.witness, **self.maps}
        figure = Figure((_INCHES * (1 + len(columns)), _INCHES * len(shown) + 0.5), layout="constrained")
        all_axes = figure.subplots(len(shown), 1 + len(columns), squeeze=False)
        for axes, index in zip(all_axes, shown, strict=True):
            axes[0].imshow(_as_picture(self.images[index]).numpy(), cmap="gray")
            axes[0].set_ylabel(f"class {self.target[index]}\nscore {self.scores[index]:.2f}")
            for ax, (name, maps) in zip(axes[1:], columns.items(), strict=True):
                limit = maps[index].abs().max().item() or 1.0
                ax.imshow(maps[index].cpu().numpy(), cmap="RdBu_r", vmin=-limit, vmax=limit)
                if name in self.agreement:
                    ax.set_xlabel(f"r = {self.agreement[name][index]:.2f}")
        for ax, title in zip(all_axes[0], ("image", *columns), strict=True):
            ax.set_title(title.replace("()", "").replace("(", "\n(", 1), fontsize="small")
        for ax in all_axes.flat:
            ax.set(xticks=[], yticks=[])
        return figure


def _as_picture(image: Tensor) -> Tensor:
    """Channels last, in 0 to 1 whatever the normalisation; a single channel is grey."""
    low, high = image.min(), image.max()
    picture = ((image - low) / (high - low).clamp(min=torch.finfo(image.dtype).tiny)).cpu()
    return picture.permute(1, 2, 0) if len(image) == 3 else picture.mean(dim=0)
