r"""The contrast score: the differences of logits by which softmax decides, as one number per class.

The score of class ``c`` against a contrast set ``K`` is

.. math:: D = z_c - R(z_K), \qquad D = z_c \text{ if } K \text{ is empty,}

where the reduction ``R`` is ``logsumexp``, ``mean`` or ``max``. Each satisfies ``R(z + b) = R(z) + b``, so a term added
equally to every logit does not change ``D``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from captum_diffcam.contrast import Contrast, ContrastFunction, TopRivals, contrast_mask, parse_contrast_sets
from captum_diffcam.logits import as_logits, check_class_dim, warn_of_probabilities

Reduction = Literal["logsumexp", "mean", "max"]


def check_reduction(reduction: str) -> None:
    """Raise a ValueError unless ``reduction`` names one of the reductions."""
    if not isinstance(reduction, str) or reduction not in get_args(Reduction):
        raise ValueError(f"`reduction` must be {', '.join(map(repr, get_args(Reduction)))}, got {reduction!r}.")


def _without_ruled_out(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    """Return the mask without classes of logit -inf, which contribute nothing to logsumexp and max."""
    ruled_out = mask & logits.isneginf()
    if reduction == "mean" and ruled_out.any():
        raise ValueError(
            "`reduction` must be 'logsumexp' or 'max' if a contrast set has a class with the logit -inf, got 'mean': "
            "the mean would be -inf. Or leave such classes out of `contrast`."
        )
    return mask & ~ruled_out


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    total = values.masked_fill(~mask, 0).sum(dim=1, keepdim=True)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _aggregate(logits: Tensor, mask: Tensor, reduction: Reduction) -> tuple[Tensor, Tensor]:
    """Return ``R`` over each row's contrast set as ``(reference, remainder)`` with ``R = reference + remainder``.

    The reference, without gradient, is the largest logit of the set, or for the mean the mean itself. It is kept apart
    so that ``z_c - reference`` can be formed first, which is exact if the logits are close: scores of logits in the
    thousands keep their digits. Both are zero in a row with an empty set. Shapes: (N, C), (N, C) -> (N, 1), (N, 1).
    """
    empty = ~mask.any(dim=1, keepdim=True)
    if reduction == "mean":
        reference = _masked_mean(logits.detach(), mask)
    else:
        reference = logits.detach().masked_fill(~mask, -torch.inf).amax(dim=1, keepdim=True).masked_fill(empty, 0)
    offsets = logits - reference
    if reduction == "logsumexp":
        # A row with an empty set keeps all of its logits here, because a row of -inf would have a NaN gradient.
        remainder = offsets.masked_fill(~(mask | empty), -torch.inf).logsumexp(dim=1, keepdim=True)
        return reference, remainder.masked_fill(empty, 0)
    if reduction == "max":
        # The maximum is the mean over the maximal classes, which shares its gradient evenly among ties.
        mask = mask & (logits == reference)
    return reference, _masked_mean(offsets, mask)


def contrast_score(target_logits: Tensor, logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    """Return ``D`` of one class per row: its logit against the contrast set of that row.

    It is +inf, without a gradient, for a finite logit whose contrast set has only classes with the logit -inf.

    Shapes: target_logits (N,), logits (N, K), mask (N, K) boolean -> (N,). Differentiable.
    """
    kept = _without_ruled_out(logits, mask, reduction)
    reference, remainder = _aggregate(logits, kept, reduction)
    unopposed = mask.any(dim=1) & ~kept.any(dim=1) & (target_logits > -torch.inf)
    return ((target_logits[:, None] - reference) - remainder).squeeze(1).masked_fill(unopposed, torch.inf)


def explained_score(logits: Tensor, target: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    """Return ``D`` of each example's target against its contrast set.

    Shapes: logits (N, C), target (N,), mask (N, C) boolean -> (N,). Differentiable.
    """
    score = contrast_score(logits.gather(1, target[:, None]).squeeze(1), logits, mask, reduction)
    if score.isposinf().any():
        raise ValueError(
            "`contrast` must have a class with a finite logit, or be empty, got for example "
            f"{int(score.isposinf().nonzero()[0])} only classes with the logit -inf: the model rules all of them out."
        )
    return score


def contrast_scores(logits: Tensor, mask: Tensor, reduction: Reduction) -> Tensor:
    """Return ``D`` of every class at once, each against the contrast set without itself.

    No classes-by-classes tensor is formed. For every class except the largest of the set, leaving it out is a small
    correction of the full set's ``R``. For the largest, which may hold nearly all of the probability, ``R`` is computed
    again. A logit of -inf scores -inf. A finite one scores +inf, without a gradient, if all the others are -inf.

    Shapes: logits (N, C), mask (N, C) boolean -> (N, C). Differentiable.
    """
    full, mask = mask, _without_ruled_out(logits, mask, reduction)
    reference, remainder = _aggregate(logits, mask, reduction)
    offsets = logits - reference
    largest = logits.detach().masked_fill(~mask, -torch.inf).argmax(dim=1, keepdim=True)
    is_largest = torch.zeros_like(mask).scatter(1, largest, True)
    if reduction == "logsumexp":
        shares = (offsets.masked_fill(~mask | is_largest, -torch.inf) - remainder).exp()
        remainder = remainder + torch.log1p(-shares)
    else:
        kept = mask & (logits == reference) if reduction == "max" else mask
        values = offsets.masked_fill(~kept, 0)
        count = kept.sum(dim=1, keepdim=True) - kept.to(torch.int64)
        remainder = (values.sum(dim=1, keepdim=True) - values) / count.clamp(min=1)
    others = offsets - remainder
    reference, remainder = _aggregate(logits, mask & ~is_largest, reduction)
    scores = torch.where(is_largest, (logits - reference) - remainder, others)
    alone = mask.sum(dim=1, keepdim=True) == mask.to(torch.int64)
    unopposed = (full & ~mask).any(dim=1, keepdim=True) & alone
    return scores.masked_fill(unopposed, torch.inf)


class ContrastScore(nn.Module):
    r"""A model whose output column ``c`` is the contrast score of class ``c``.

    It makes any of Captum's attribution methods and metrics contrastive: column ``c`` of ``ContrastScore(model)`` is

    .. math:: D_c = z_c - R(z_{K \setminus c}), \qquad D_c = z_c \text{ if } K \setminus c \text{ is empty.}

    With the default contrast, all other classes, and ``logsumexp``, that is the log-odds
    :math:`\log \frac{p_c}{1 - p_c}` of the softmax probability, computed from the logits, so that it does not saturate.

    A class with a logit of -inf, which the model rules out, contributes nothing to the scores of others under logsumexp
    and max. Its own score is -inf. If a class has no other rivals, its score is +inf, without a gradient.

    Captum's DeepLift has no rule for exponentials: its attributions add up only under ``reduction="mean"``.

    Sources: J. Piland, C. Sweet, A. Czajka, "DiffGradCAM", arXiv:2506.08514, for maps of differences of logits; Y. Wang
    and X. Wang, "Why Not Other Classes?", NeurIPS 2022, for the mean, max and weighted contrast (the latter is the
    gradient under logsumexp).

    Args:
        forward_func: a model, or any function that returns logits of shape (N, C) or (N, C, ...). A single logit per
            example, (N,) or (N, 1), is itself the log-odds and is returned unchanged.
        contrast: the contrast set, in any form of :meth:`LayerDiffGradCam.attribute`. A class of an explicit set is
            scored against the set without itself. A flat collection is one set for the batch, whatever its length,
            because the targets are not known here; one rival per example is ``rivals[:, None]``. Sets per example must
            be as many as the examples of the batch: Captum's tools repeat a batch in different orders, and a wrong
            guess would go unnoticed. A callable other than :func:`top_rivals` is called once for every class.
        reduction: ``"logsumexp"``, ``"mean"`` or ``"max"`` (its gradient is shared evenly among ties).
        class_dim: the output's dimension of classes, also counted from the back. None: dimension 1.

    Shape:
        As the output of ``forward_func``, in float32 or better.

    Raises:
        TypeError, ValueError, IndexError: the message names the argument, what it must be and what it got.

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
        self,
        forward_func: Callable[..., Any],
        contrast: Contrast = None,
        reduction: Reduction = "logsumexp",
        class_dim: int | None = None,
    ) -> None:
        super().__init__()
        if not callable(forward_func):
            raise TypeError(f"`forward_func` must be a model or another callable, got {type(forward_func).__name__}.")
        check_reduction(reduction)
        self.forward_func = forward_func
        self.contrast = contrast
        self.reduction = reduction
        self.class_dim = check_class_dim(class_dim)
        self.training = getattr(forward_func, "training", False)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the scores for the same arguments as those of ``forward_func``."""
        output = self.forward_func(*args, **kwargs)
        logits = as_logits(output, self.class_dim)
        warn_of_probabilities(output, self.class_dim)
        if logits.ndim < 2:
            return logits
        class_dim = 1 if self.class_dim is None else self.class_dim
        by_class = logits.movedim(class_dim, -1)
        rows = by_class.reshape(-1, by_class.shape[-1])
        if isinstance(self.contrast, TopRivals):
            scores = self._scores_of_top_rivals(self.contrast.k, rows)
        elif callable(self.contrast):
            scores = self._scores_of_callable(self.contrast, rows)
        else:
            scores = contrast_scores(rows, self._mask(len(logits), rows), self.reduction)
        if not scores.isfinite().any(dim=1).all():
            raise ValueError(
                "`contrast` must leave some class with a finite score, got a row of logits without one: the logit of "
                "each class, or those of all its rivals, are -inf."
            )
        return scores.reshape(by_class.shape).movedim(-1, class_dim)

    def _mask(self, examples: int, rows: Tensor) -> Tensor:
        sets = parse_contrast_sets(self.contrast, rows.shape[1]).to(rows.device)
        if len(sets) not in (1, examples):
            raise ValueError(
                f"`contrast` must have one set for the batch or one per example, got {len(sets)} sets for {examples} "
                "examples. Captum's tools repeat a batch in different orders: keep its size with internal_batch_size, "
                "perturbations_per_eval or max_examples_per_batch, or explain one example at a time."
            )
        return sets.repeat_interleave(len(rows) // max(len(sets), 1), dim=0)

    def _scores_of_top_rivals(self, k: int, rows: Tensor) -> Tensor:
        """Return what :meth:`_scores_of_callable` does, at once: without a class of the top k, the next one follows."""
        order = rows.detach().topk(min(k + 1, rows.shape[1]), dim=1).indices
        none = torch.zeros_like(rows, dtype=torch.bool)
        top, one_more = none.scatter(1, order[:, :k], True), none.scatter(1, order, True)
        return torch.where(
            top, contrast_scores(rows, one_more, self.reduction), contrast_scores(rows, top, self.reduction)
        )

    def _scores_of_callable(self, contrast: ContrastFunction, rows: Tensor) -> Tensor:
        columns = []
        for column in range(rows.shape[1]):
            mask = contrast_mask(contrast, rows, torch.full((len(rows),), column, device=rows.device))
            # Only the classes of the set are kept for the backward pass: all of them, for every class, are too many.
            width = max(int(mask.sum(dim=1).max()), 1) if len(rows) else 1
            kept, index = mask.to(torch.uint8).topk(width, dim=1)
            columns.append(contrast_score(rows[:, column], rows.gather(1, index), kept.bool(), self.reduction))
        return torch.stack(columns, dim=1)
