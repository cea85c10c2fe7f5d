r"""The contrast score: what softmax decides by, as one number per class.

Softmax sees only differences of logits. The score of class ``c`` against a contrast set ``K`` is

.. math:: D = z_c - R(z_K), \qquad D = z_c \text{ where } K \text{ is empty,}

where the reduction ``R`` is ``logsumexp``, ``mean`` or ``max``. Each satisfies ``R(z + b) = R(z) + b``, so ``D`` does
not see anything that is added to all logits alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from captum_diffcam.contrast import Contrast, ContrastFunction, TopRivals, contrast_mask, parse_contrast_sets
from captum_diffcam.logits import as_logits, warn_of_probabilities

Reduction = Literal["logsumexp", "mean", "max"]


def check_reduction(reduction: str) -> None:
    """Raise a ValueError unless ``reduction`` names one of the reductions."""
    if not isinstance(reduction, str) or reduction not in get_args(Reduction):
        raise ValueError(f"reduction: got {reduction!r}; allowed are {', '.join(map(repr, get_args(Reduction)))}")


def _without_ruled_out(logits: Tensor, members: Tensor, reduction: Reduction) -> Tensor:
    """The members that have a part in ``R``: a class with a logit of -inf has none in logsumexp and max."""
    ruled_out = members & logits.isneginf()
    if reduction == "mean" and ruled_out.any():
        raise ValueError(
            "reduction: got 'mean' and a contrast set that holds a class with the logit -inf, of which every mean is "
            "-inf; allowed are 'logsumexp' and 'max', in which such a class has no part, and sets without it"
        )
    return members & ~ruled_out


def _masked_mean(values: Tensor, members: Tensor) -> Tensor:
    total = values.masked_fill(~members, 0).sum(dim=1, keepdim=True)
    return total / members.sum(dim=1, keepdim=True).clamp(min=1)


def _aggregate(logits: Tensor, members: Tensor, reduction: Reduction) -> tuple[Tensor, Tensor]:
    """``R`` over the members of each row, as ``(reference, remainder)`` with ``R = reference + remainder``.

    The reference is the largest member, or for the mean the mean itself, without gradient. Kept apart, the two let
    ``z_c - reference`` be formed first, which is exact where the logits are close; so scores keep their digits for
    logits in the thousands. Both are zero where a row has no members. Shapes: (N, C), (N, C) -> (N, 1), (N, 1).
    """
    empty = ~members.any(dim=1, keepdim=True)
    if reduction == "mean":
        reference = _masked_mean(logits.detach(), members)
    else:
        reference = logits.detach().masked_fill(~members, -torch.inf).amax(dim=1, keepdim=True).masked_fill(empty, 0)
    offsets = logits - reference
    if reduction == "logsumexp":
        # A row without members keeps all of its logits here, because an infinite row would have a NaN gradient.
        remainder = offsets.masked_fill(~(members | empty), -torch.inf).logsumexp(dim=1, keepdim=True)
        return reference, remainder.masked_fill(empty, 0)
    if reduction == "max":
        # The maximum is the mean over the maximal members, which shares its gradient evenly among ties.
        members = members & (logits == reference)
    return reference, _masked_mean(offsets, members)


def contrast_score(target_logits: Tensor, logits: Tensor, members: Tensor, reduction: Reduction) -> Tensor:
    """``D`` of one class per row: its logit against the members of that row.

    It is +inf, without a gradient, where a finite logit has no member but those of -inf.

    Shapes: target_logits (N,), logits (N, K), members (N, K) boolean -> (N,). Differentiable.
    """
    kept = _without_ruled_out(logits, members, reduction)
    reference, remainder = _aggregate(logits, kept, reduction)
    unopposed = members.any(dim=1) & ~kept.any(dim=1) & (target_logits > -torch.inf)
    return ((target_logits[:, None] - reference) - remainder).squeeze(1).masked_fill(unopposed, torch.inf)


def explained_score(logits: Tensor, target: Tensor, contrast: Contrast, reduction: Reduction) -> Tensor:
    """``D`` of each example's target. Shapes: logits (N, C), target (N,) -> (N,). Differentiable."""
    members = contrast_mask(contrast, logits, target)
    score = contrast_score(logits.gather(1, target[:, None]).squeeze(1), logits, members, reduction)
    if score.isposinf().any():
        raise ValueError(
            f"contrast: in the set of example {int(score.isposinf().nonzero()[0])} all classes have the logit -inf, so "
            "the model rules them out; allowed are sets with a class whose logit is finite, and empty ones"
        )
    return score


def contrast_scores(logits: Tensor, members: Tensor, reduction: Reduction) -> Tensor:
    """``D`` of every class at once, each against the members without itself.

    No classes-by-classes tensor is formed. For every class but the largest member, leaving it out is a small correction
    of the whole set's ``R``; for the largest member, which may hold all of the probability, ``R`` is taken anew.
    A logit of -inf scores -inf, and a finite one +inf, without a gradient, where the others are all -inf.

    Shapes: logits (N, C), members (N, C) boolean -> (N, C). Differentiable.
    """
    asked, members = members, _without_ruled_out(logits, members, reduction)
    reference, remainder = _aggregate(logits, members, reduction)
    offsets = logits - reference
    largest = logits.detach().masked_fill(~members, -torch.inf).argmax(dim=1, keepdim=True)
    is_largest = torch.zeros_like(members).scatter(1, largest, True) & members
    if reduction == "logsumexp":
        shares = (offsets.masked_fill(~members | is_largest, -torch.inf) - remainder).exp()
        remainder = remainder + torch.log1p(-shares)
    else:
        kept = members & (logits == reference) if reduction == "max" else members
        values = offsets.masked_fill(~kept, 0)
        count = kept.sum(dim=1, keepdim=True) - kept.to(torch.int64)
        remainder = (values.sum(dim=1, keepdim=True) - values) / count.clamp(min=1)
    others = offsets - remainder
    reference, remainder = _aggregate(logits, members & ~is_largest, reduction)
    scores = torch.where(is_largest, (logits - reference) - remainder, others)
    alone = members.sum(dim=1, keepdim=True) == members.to(torch.int64)
    unopposed = (asked & ~members).any(dim=1, keepdim=True) & alone
    return scores.masked_fill(unopposed, torch.inf)


class ContrastScore(nn.Module):
    r"""A model whose output column ``c`` is the contrast score of class ``c``.

    Wrapping the model makes any other attribution method or metric of Captum contrastive.

    .. math::
        D_c = z_c - R(z_{K \setminus c}), \qquad
        R = \operatorname{logsumexp} \mid \operatorname{mean} \mid \max

    With the default, every other class and ``logsumexp``, :math:`D_c` is the log-odds
    :math:`\log \frac{p_c}{1 - p_c}` of the softmax probability, computed from the logits, so that it does not saturate.

    A class with a logit of -inf, which the model rules out, has no part in the scores of others under logsumexp and
    max; its own score is -inf. Where that leaves a class no rival, its score is +inf, without a gradient.

    Of Captum's methods DeepLift has no rule for exponentials: its attributions add up under ``reduction="mean"`` alone.

    Source: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514. The choice of reductions is ours.

    Args:
        forward_func: a model, or any function that returns logits of shape (N, C) or (N, C, ...). Classes are along
            dimension 1. A single number per example, (N,) or (N, 1), is itself the log-odds and is returned as it is.
        contrast: the contrast set, in every form of :meth:`LayerDiffGradCam.attribute`. A column that is itself in an
            explicit set is scored against the set without it. Sets given per example must be as many as the batch has
            examples: Captum's tools repeat a batch in different orders, and a wrong guess would go unnoticed. A
            callable of your own is asked once for every class.
        reduction: ``"logsumexp"``, ``"mean"`` or ``"max"`` (its gradient is shared evenly among ties).

    Shape:
        As ``forward_func``'s output, in float32 or better.

    Raises:
        TypeError, ValueError, IndexError: the argument is named with what was given and what is allowed.

    Warns:
        UserWarning: ``forward_func`` returned probabilities.

    Example:
        >>> import torch
        >>> from captum_diffcam import ContrastScore
        >>> logits = torch.tensor([[2.0, 0.0, 0.0]])
        >>> ContrastScore(lambda x: x, reduction="mean")(logits)
        tensor([[ 2., -1., -1.]])
    """

    def __init__(
        self, forward_func: Callable[..., Any], contrast: Contrast = None, reduction: Reduction = "logsumexp"
    ) -> None:
        super().__init__()
        if not callable(forward_func):
            raise TypeError(f"forward_func: got {type(forward_func).__name__}; allowed is a model or another callable")
        check_reduction(reduction)
        self.forward_func = forward_func
        self.contrast = contrast
        self.reduction = reduction
        self.training = getattr(forward_func, "training", False)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """The scores for the same arguments as ``forward_func``."""
        output = self.forward_func(*args, **kwargs)
        logits = as_logits(output)
        warn_of_probabilities(output)
        if logits.ndim < 2:
            return logits
        by_class = logits.movedim(1, -1)
        rows = by_class.reshape(-1, by_class.shape[-1])
        if isinstance(self.contrast, TopRivals):
            scores = self._scores_of_top_rivals(self.contrast.k, rows)
        elif callable(self.contrast):
            scores = self._scores_by_asking(self.contrast, rows)
        else:
            scores = contrast_scores(rows, self._members(len(logits), rows), self.reduction)
        if not scores.isfinite().any(dim=1).all():
            raise ValueError(
                "contrast: in a row of logits no class has a finite score, because its own logit is -inf or all of its "
                "rivals' are; allowed are sets with a class whose logit is finite, and empty ones"
            )
        return scores.reshape(by_class.shape).movedim(-1, 1)

    def _members(self, examples: int, rows: Tensor) -> Tensor:
        sets = parse_contrast_sets(self.contrast, rows.shape[1]).to(rows.device)
        if len(sets) not in (1, examples):
            raise ValueError(
                f"contrast: got sets for {len(sets)} examples; the batch has {examples}. Captum's tools repeat a batch "
                "in different orders: keep its size with internal_batch_size, perturbations_per_eval or "
                "max_examples_per_batch, or explain one example at a time"
            )
        return sets.repeat_interleave(len(rows) // max(len(sets), 1), dim=0)

    def _scores_of_top_rivals(self, k: int, rows: Tensor) -> Tensor:
        """As by asking, without asking: leaving a class of the top k out lets the next one in."""
        order = rows.detach().topk(min(k + 1, rows.shape[1]), dim=1).indices
        none = torch.zeros_like(rows, dtype=torch.bool)
        top, one_more = none.scatter(1, order[:, :k], True), none.scatter(1, order, True)
        return torch.where(
            top, contrast_scores(rows, one_more, self.reduction), contrast_scores(rows, top, self.reduction)
        )

    def _scores_by_asking(self, contrast: ContrastFunction, rows: Tensor) -> Tensor:
        columns = []
        for column in range(rows.shape[1]):
            members = contrast_mask(contrast, rows, torch.full((len(rows),), column, device=rows.device))
            # Only the members are kept for the backward pass: all classes, for every class, would be too many.
            width = max(int(members.sum(dim=1).max()), 1) if len(rows) else 1
            kept, index = members.to(torch.uint8).topk(width, dim=1)
            columns.append(contrast_score(rows[:, column], rows.gather(1, index), kept.bool(), self.reduction))
        return torch.stack(columns, dim=1)
