"""Every form of a contrast set, and every way of getting one wrong."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from nets import conv_net, images

from captum_diffcam import LayerDiffGradCam, top_rivals
from captum_diffcam.contrast import contrast_mask

LOGITS = torch.tensor([[5.0, 1, 4, 2, 3], [1, 2, 3, 4, 5]])
TARGET = torch.tensor([0, 4])


def mask(*rows: list[int]) -> torch.Tensor:
    return torch.stack([torch.tensor([c in row for c in range(5)]) for row in rows])


@pytest.mark.parametrize(
    ("contrast", "sets"),
    [
        (None, ([1, 2, 3, 4], [0, 1, 2, 3])),
        (3, ([3], [3])),
        (np.int64(3), ([3], [3])),
        (torch.tensor(3), ([3], [3])),
        ([1, 3], ([1, 3], [1, 3])),
        ((1, 3, 3), ([1, 3], [1, 3])),
        ({1, 3}, ([1, 3], [1, 3])),
        (range(1, 4), ([1, 2, 3], [1, 2, 3])),
        (np.array([1, 3]), ([1, 3], [1, 3])),
        (torch.tensor([1, 3], dtype=torch.int32), ([1, 3], [1, 3])),
        ([torch.tensor(1), np.int32(3)], ([1, 3], [1, 3])),
        ([], ([], [])),
        (torch.tensor([]), ([], [])),
        ([[1, 2, 3], [0]], ([1, 2, 3], [0])),
        ([[1], []], ([1], [])),
        ([[], []], ([], [])),
        ([[2, 3]], ([2, 3], [2, 3])),
        ([{1}, torch.tensor([0, 2])], ([1], [0, 2])),
        (torch.tensor([[1, 2], [0, 3]]), ([1, 2], [0, 3])),
        (np.array([[1, 2], [0, 3]]), ([1, 2], [0, 3])),
        (torch.tensor([False, True, False, True, False]), ([1, 3], [1, 3])),
        ([False, True, False, True, False], ([1, 3], [1, 3])),
        (np.array([False, True, False, True, False]), ([1, 3], [1, 3])),
        (mask([1, 2], [0]), ([1, 2], [0])),
        (top_rivals(2), ([2, 4], [2, 3])),
        (top_rivals(99), ([1, 2, 3, 4], [0, 1, 2, 3])),
        pytest.param(lambda logits, target: logits < 2.5, ([1, 3], [0, 1]), id="callable"),
    ],
    ids=str,
)
def test_forms(contrast, sets):
    torch.testing.assert_close(contrast_mask(contrast, LOGITS, TARGET), mask(*sets))


def test_sets_follow_examples_that_are_repeated_in_place():
    members = contrast_mask([[1], [0, 2]], LOGITS.repeat_interleave(3, 0), TARGET.repeat_interleave(3, 0))
    torch.testing.assert_close(members, mask([1], [0, 2]).repeat_interleave(3, 0))


@pytest.mark.parametrize(
    ("contrast", "error", "message"),
    [
        (5, IndexError, "contrast: class 5 is out of range; allowed are 0 to 4"),
        (-1, IndexError, "contrast: class -1 is out of range"),
        ([1, -2], IndexError, "contrast: class -2 is out of range"),
        ([[1], [7]], IndexError, "contrast: class 7 is out of range"),
        (torch.tensor([1, 9]), IndexError, "contrast: class 9 is out of range"),
        ([0, 1], ValueError, "contrast: the target class 0 of example 0 is in its own contrast set"),
        (4, ValueError, "contrast: the target class 4 of example 1 is in its own contrast set"),
        (torch.ones(5, dtype=torch.bool), ValueError, "in its own contrast set"),
        pytest.param(lambda logits, target: logits > 2, ValueError, "in its own contrast set", id="with the target"),
        ([[1], [2], [3]], ValueError, "contrast: got sets for 3 examples; the batch has 2"),
        (torch.ones(3, 5, dtype=torch.bool), ValueError, "contrast: got sets for 3 examples; the batch has 2"),
        (torch.ones(4, dtype=torch.bool), ValueError, r"contrast: got a boolean mask of shape \(4,\)"),
        (torch.ones(2, 2, 5, dtype=torch.bool), ValueError, r"contrast: got a boolean mask of shape \(2, 2, 5\)"),
        ([True, False], ValueError, "contrast: got a boolean mask of length 2; the model has 5 classes"),
        (1.0, TypeError, "contrast: got 1.0 of type float"),
        ([1.0, 2.0], TypeError, "contrast: got 1.0 of type float"),
        (torch.tensor([1.0]), TypeError, "contrast: got 1.0 of type float"),
        ([1, True], TypeError, "contrast: got True of type bool"),
        ([1, [2]], TypeError, r"contrast: got \[2\] of type list"),
        ([[1], None], TypeError, "contrast: got"),
        (torch.ones(2, 1, 1, dtype=torch.int64), TypeError, "contrast: got"),
        ("12", TypeError, "contrast: got '12' of type str"),
        ({1: 2}, TypeError, "contrast: got"),
        pytest.param(
            top_rivals, TypeError, "contrast: got the function top_rivals; allowed is what it returns", id="uncalled"
        ),
        (torch.empty(0, 3, dtype=torch.int64), ValueError, "contrast: got sets for 0 examples; the batch has 2"),
        pytest.param(lambda logits, target: [1], TypeError, "contrast: the callable returned list", id="a list"),
        pytest.param(
            lambda logits, target: logits, TypeError, "contrast: the callable returned torch.float32", id="floats"
        ),
        pytest.param(
            lambda z, target: target == 0, ValueError, r"contrast: the callable returned shape \(2,\)", id="(2,)"
        ),
    ],
    ids=str,
)
def test_errors_name_the_argument(contrast, error, message):
    with pytest.raises(error, match=message):
        contrast_mask(contrast, LOGITS, TARGET)


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_top_rivals_wants_a_count(k, error):
    with pytest.raises(error, match=f"^k: got {k!r}"):
        top_rivals(k)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_top_rivals_can_be_copied(copied):
    """sensitivity_max deep-copies its keyword arguments; a saved ContrastScore is pickled."""
    torch.testing.assert_close(copied(top_rivals(2))(LOGITS, TARGET), mask([2, 4], [2, 3]))


def test_a_callable_sees_logits_without_graph_and_the_targets():
    net, x = conv_net(), images()
    seen = []

    def contrast(logits, target):
        seen.append((logits, target))
        return top_rivals(1)(logits, target)

    LayerDiffGradCam(net, net.features).attribute(x, target=[2, 0, 5], contrast=contrast)
    ((logits, target),) = seen
    assert not logits.requires_grad
    torch.testing.assert_close(logits, net(x).detach())
    assert target.tolist() == [2, 0, 5]
