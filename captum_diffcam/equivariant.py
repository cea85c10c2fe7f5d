"""The part of a layer's map that moves with the image, apart from the part that stays where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from captum.attr import LayerAttribution
from captum.log import log_usage
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from captum_diffcam._checks import as_index, as_inputs
from captum_diffcam._model_state import modules_of, preserve_model_state
from captum_diffcam.contrast import contrast_mask
from captum_diffcam.logits import Target, as_logits, at_least_float32, resolve_target
from captum_diffcam.results import EquivariantSplit
from captum_diffcam.shifts import (
    Padding,
    check_padding,
    shift_images,
    shift_in_cells,
    split_shifted_maps,
    square_of_shifts,
)


class EquivariantPart(LayerAttribution):
    r"""The part of a map that moves with the image: evidence does, a hoax that is drawn in one place does not.

    The image is shifted by cells of the layer, filled in at the border, and explained again. The maps :math:`M_s` of
    its shifts :math:`s`, each divided by its norm, are split by least squares,

    .. math:: \frac{M_s(p)}{\lVert M_s \rVert} \approx m(p - s) + f(p) ,

    into a moving part :math:`m`, which is the attribution (times :math:`\lVert M_0 \rVert`, so that its scale is the
    map's), and a fixed part :math:`f` with a mean of zero. See :func:`~captum_diffcam.shifts.split_shifted_maps`.
    The class that is explained, and the contrast set, are those of the image as it is, under every shift.

    It is no proof against forgery. A map that is moved from place to place with the image, or a hoax that is drawn
    around the object wherever that is, moves along and stays in the map. Where objects fill the image the shifts
    show little that is new, and the part helps less. Models that treat the border or the centre in a way of their own
    have an honest fixed part: its share is no verdict by itself.

    Source: ours.

    Args:
        attribution: a layer attribution whose maps have shape ``(N, 1, *positions)``, such as
            :class:`captum.attr.LayerGradCam` or :class:`LayerDiffGradCam`.
        shifts: an integer r for all shifts of up to r cells along each dimension, :math:`(2r + 1)^2` of an image, or
            the shifts themselves, in cells (parts of cells too), one number for each dimension. More take more time
            and average more.
        padding: what comes in at the border: ``"reflect"``, ``"replicate"`` or ``"circular"``.

    Example:
        >>> import torch
        >>> from captum_diffcam import EquivariantPart, LayerDiffGradCam
        >>> _ = torch.manual_seed(0)
        >>> conv = torch.nn.Conv2d(3, 8, 3, stride=4)
        >>> pool = torch.nn.AdaptiveAvgPool2d(1)
        >>> model = torch.nn.Sequential(conv, torch.nn.ReLU(), pool, torch.nn.Flatten(), torch.nn.Linear(8, 10))
        >>> cam = EquivariantPart(LayerDiffGradCam(model, model[1]), shifts=1)
        >>> cam.attribute(torch.rand(2, 3, 32, 32), target=3).shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        attribution: LayerAttribution,
        shifts: int | Sequence[Sequence[float]] = 2,
        padding: Padding = "reflect",
    ) -> None:
        if not isinstance(attribution, LayerAttribution):
            raise TypeError(f"attribution: got {type(attribution).__name__}; allowed is a LayerAttribution")
        if isinstance(shifts, (list, tuple)):
            listed = [shift for shift in shifts if isinstance(shift, (list, tuple))]
            if len(listed) < len(shifts) or not shifts:
                raise ValueError(f"shifts: got {shifts!r}; {_SHIFTS}")
        elif (shifts := as_index("shifts", shifts, _SHIFTS)) < 1:
            raise ValueError(f"shifts: got {shifts}; {_SHIFTS}")
        check_padding(padding)
        layer: Module = attribution.layer
        LayerAttribution.__init__(self, attribution.forward_func, layer, getattr(attribution, "device_ids", None))
        self.attribution = attribution
        self.shifts = shifts
        self.padding: Padding = padding

    # NoiseTunnel calls ``attribute.__wrapped__``, which this decorator sets.
    @log_usage(part_of_slo=True)
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        shifts_per_eval: int = 1,
        show_progress: bool = False,
        **kwargs: Any,
    ) -> Tensor:
        r"""The moving part of the wrapped attribution's map.

        Args:
            inputs: the model's input, or a tuple of inputs. Those that have the positions' dimensions are shifted, each
                by the same share of its size; others, a table beside an image for instance, are not.
            target: the class to explain, in any form of :meth:`LayerDiffGradCam.attribute`. A callable such as
                :func:`predicted` is asked once, of the inputs as they are.
            additional_forward_args: further arguments of the model. They are not shifted.
            shifts_per_eval: how many shifts go into one forward. Tensors among the additional arguments, and what was
                given per example, are then repeated in place, as Captum's tools do.
            show_progress: show a progress bar.
            **kwargs: further arguments of the wrapped attribution's ``attribute``. ``relu_attributions`` keeps the
                positive values of the moving part.

        Returns:
            ``(N, 1, *positions)``, without a graph unless ``grad_kwargs={"create_graph": True}`` is given.

        Raises:
            TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.
        """
        return self.split(
            inputs,
            target,
            additional_forward_args,
            shifts_per_eval=shifts_per_eval,
            show_progress=show_progress,
            **kwargs,
        ).equivariant

    def split(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: Target = None,
        additional_forward_args: object = None,
        *,
        shifts_per_eval: int = 1,
        show_progress: bool = False,
        relu_attributions: bool = False,
        **kwargs: Any,
    ) -> EquivariantSplit:
        """Both parts, and how much of the map the fixed one is. Arguments are those of :meth:`attribute`."""
        per_eval = as_index("shifts_per_eval", shifts_per_eval, "allowed is an integer of at least 1")
        if per_eval < 1:
            raise ValueError(f"shifts_per_eval: got {per_eval}; allowed is an integer of at least 1")
        given = as_inputs(inputs)
        question = _Question(
            self.attribution, given, isinstance(inputs, tuple), target, additional_forward_args, kwargs
        )
        maps = [question.maps(given, 1)]
        positions = maps[0].shape[2:]
        shifts = self._shifts(positions)
        of = next((single for single in given if _moves(single, len(positions))), None)
        if of is None:
            shapes = ", ".join(str(tuple(single.shape)) for single in given)
            raise ValueError(f"inputs: got {shapes}, of which none has the {len(positions)} dimension(s) of the map")
        with tqdm(total=len(shifts), desc="shift", leave=False, disable=not show_progress) as bar:
            for start in range(1, len(shifts), per_eval):
                bar.update(bar.n == 0)
                some = shifts[start : start + per_eval]
                found = question.maps(tuple(self._moved(single, some, positions) for single in given), len(some))
                maps += found.reshape(len(given[0]), len(some), 1, *positions).unbind(dim=1)
                bar.update(len(some))
        exact = [shift_in_cells(shift, positions, of.shape[-len(positions) :]) for shift in shifts]
        flat = torch.stack(maps).flatten(2)
        size = flat.norm(dim=2, keepdim=True)
        moving, fixed = split_shifted_maps((flat / size.where(size > 0, 1)).reshape(*flat.shape[:2], *positions), exact)
        in_moving, in_fixed = (part.flatten(1).var(dim=1, correction=0) for part in (moving, fixed))
        total = in_moving + in_fixed
        scale = size[0].reshape(-1, *[1] * len(positions))
        return EquivariantSplit(
            (moving * scale).relu()[:, None] if relu_attributions else (moving * scale)[:, None],
            (fixed * scale)[:, None],
            in_fixed / total.where(total > 0, 1),
        )

    def _shifts(self, positions: Sequence[int]) -> list[tuple[float, ...]]:
        """None first."""
        if isinstance(self.shifts, int):
            return list(square_of_shifts(self.shifts, len(positions)))
        shifts = [tuple(shift) for shift in self.shifts]
        return [(0.0,) * len(positions), *(shift for shift in shifts if any(shift))]

    def _moved(self, single: Tensor, shifts: Sequence[Sequence[float]], positions: Sequence[int]) -> Tensor:
        """An input under several shifts, those of one example side by side."""
        if not _moves(single, len(positions)):
            return single.repeat_interleave(len(shifts), dim=0)
        moved = [shift_images(single, shift, positions, self.padding) for shift in shifts]
        return torch.stack(moved, dim=1).flatten(0, 1)


_SHIFTS = "allowed are an integer of at least 1 and a list of shifts, each a number of cells for each dimension"


class _Question:
    """What the wrapped attribution is asked: of every shift the same."""

    def __init__(
        self,
        attribution: LayerAttribution,
        given: tuple[Tensor, ...],
        in_a_tuple: bool,
        target: Target,
        extra: object,
        kwargs: dict[str, Any],
    ) -> None:
        self.attribution, self.in_a_tuple = attribution, in_a_tuple
        self.extra = extra if isinstance(extra, tuple) or extra is None else (extra,)
        self.target, self.kwargs = target, dict(kwargs)
        self.keeps_graph = bool((kwargs.get("grad_kwargs") or {}).get("create_graph"))
        contrast = kwargs.get("contrast")
        if callable(target) or callable(contrast):
            with torch.no_grad(), preserve_model_state(modules_of(attribution.forward_func, [])):
                logits, classes = resolve_target(
                    as_logits(attribution.forward_func(*given, *(self.extra or ()))), target
                )
            self.target = classes if callable(target) else target
            if callable(contrast):
                self.kwargs["contrast"] = contrast_mask(contrast, logits, classes)

    def maps(self, inputs: tuple[Tensor, ...], repeats: int) -> Tensor:
        """Maps (N * repeats, 1, *positions)."""
        target: Any = self.target
        extra = self.extra
        if repeats > 1:
            if isinstance(target, (Tensor, np.ndarray)) and target.ndim and len(target) > 1:
                target = target.repeat_interleave(repeats) if isinstance(target, Tensor) else target.repeat(repeats)
            elif isinstance(target, list):
                target = [each for each in target for _ in range(repeats)]
            extra = extra and tuple(
                value.repeat_interleave(repeats, dim=0) if isinstance(value, Tensor) and value.ndim else value
                for value in extra
            )
        found = self.attribution.attribute(
            inputs if self.in_a_tuple else inputs[0], target, additional_forward_args=extra, **self.kwargs
        )
        if not isinstance(found, Tensor) or found.ndim < 3 or found.shape[1] != 1:
            got = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"{len(found)} maps"
            raise ValueError(f"attribution: returned {got}; allowed is one map of shape (N, 1, *positions)")
        return at_least_float32(found if self.keeps_graph else found.detach())


def _moves(single: Tensor, dimensions: int) -> bool:
    """Whether an input has the positions' dimensions behind examples and channels; raw audio has no channels."""
    return single.ndim == dimensions + 2 or (dimensions == 1 and single.ndim == 2)
