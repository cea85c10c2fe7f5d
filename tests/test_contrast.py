"""Every form of a contrast set, and every way of getting one wrong."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel
from nets import conv_net, images

from captum_diffcam import CamMethod, EquivariantPart, GuidedDiffGradCam, LayerDiffGradCam, top_rivals
from captum_diffcam.contrast import contrast_mask

LOGITS = torch.tensor([[5.0, 1, 4, 2, 3], [1, 2, 3, 4, 5]])
TARGET = torch.tensor([0, 4])


def predicted_or_two(logits: torch.Tensor) -> torch.Tensor:
    return torch.full((len(logits),), 2)


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
    result = contrast_mask([[1], [0, 2]], LOGITS.repeat_interleave(3, 0), TARGET.repeat_interleave(3, 0))
    torch.testing.assert_close(result, mask([1], [0, 2]).repeat_interleave(3, 0))


def test_sets_do_not_follow_other_batches():
    with pytest.raises(ValueError, match=r"`contrast` must have one set .* got 2 sets for 4 examples"):
        contrast_mask([[1], [2]], LOGITS.repeat(2, 1), TARGET.repeat(2))


@pytest.mark.parametrize(
    ("contrast", "error"),
    [
        (5, IndexError),
        (-1, IndexError),
        ([1, -2], IndexError),
        ([[1], [7]], IndexError),
        (torch.tensor([1, 9]), IndexError),
        ([0, 1], ValueError),
        (4, ValueError),
        (torch.ones(5, dtype=torch.bool), ValueError),
        pytest.param(lambda logits, target: logits > 2, ValueError, id="with the target"),
        ([[1], [2], [3]], ValueError),
        (torch.ones(3, 5, dtype=torch.bool), ValueError),
        (torch.ones(4, dtype=torch.bool), ValueError),
        (torch.ones(2, 2, 5, dtype=torch.bool), ValueError),
        (torch.zeros(1, 2, 5, dtype=torch.bool), ValueError),
        ([True, False], ValueError),
        (1.0, TypeError),
        ([1.0, 2.0], TypeError),
        (torch.tensor([1.0]), TypeError),
        ([1, True], TypeError),
        ([1, [2]], TypeError),
        ([[1], None], TypeError),
        (torch.ones(2, 1, 1, dtype=torch.int64), TypeError),
        ("12", TypeError),
        (["tabby"], TypeError),
        ([["tabby"], ["lynx"]], TypeError),
        ({1: 2}, TypeError),
        pytest.param(top_rivals, TypeError, id="uncalled"),
        (torch.empty(0, 3, dtype=torch.int64), ValueError),
        pytest.param(lambda logits, target: [1], TypeError, id="a list"),
        pytest.param(lambda logits, target: logits, TypeError, id="floats"),
        pytest.param(lambda z, target: target == 0, ValueError, id="(2,)"),
    ],
    ids=str,
)
def test_errors_name_the_argument(contrast, error):
    with pytest.raises(error, match="`contrast` must"):
        contrast_mask(contrast, LOGITS, TARGET)
    with pytest.raises(error, match="`rivals` must"):
        contrast_mask(contrast, LOGITS, TARGET, "rivals")


@pytest.mark.parametrize("contrast", [5, [9], torch.tensor([0, 5])], ids=str)
def test_classes_out_of_range_are_told_the_range(contrast):
    with pytest.raises(IndexError, match="0 to 4"):
        contrast_mask(contrast, LOGITS, TARGET)


@pytest.mark.parametrize("contrast", ["tabby", ["tabby", "lynx"], [["tabby"]], np.array(["tabby"])], ids=str)
def test_names_of_classes_are_told_from_indices(contrast):
    with pytest.raises(TypeError, match=r"`contrast`.*'tabby'.*index"):
        contrast_mask(contrast, LOGITS, TARGET)


@pytest.mark.parametrize(
    ("k", "error"), [(0, ValueError), (-3, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)]
)
def test_top_rivals_wants_a_count(k, error):
    with pytest.raises(error, match=f"`k` must be .*, got {k!r}"):
        top_rivals(k)


FLAT = {
    "list": [3, 4, 5],
    "tuple": (3, 4, 5),
    "range": range(3, 6),
    "tensor": torch.tensor([3, 4, 5]),
    "small integers": torch.tensor([3, 4, 5], dtype=torch.uint8),
    "array": np.array([3, 4, 5]),
    "list of tensors": [torch.tensor(3), torch.tensor(4), torch.tensor(5)],
}
TARGETS = {
    "list": [0, 1, 2],
    "tensor": torch.tensor([0, 1, 2]),
    "array": np.array([0, 1, 2]),
    "list of tensors": [torch.tensor(0), torch.tensor(1), torch.tensor(2)],
    "the same class": [1, 1, 1],
}


class TestOneRivalPerImageOrOneSet:
    """Three classes for three images with a target each: which is meant cannot be told."""

    @pytest.mark.parametrize("contrast", FLAT.values(), ids=FLAT)
    @pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
    def test_both_readings_are_shown(self, net, x, contrast, target):
        cam = LayerDiffGradCam(net, net.features)
        for method in (cam, GuidedDiffGradCam(net, net.features), EquivariantPart(cam, shifts=1)):
            with pytest.raises(ValueError, match=r"`contrast\[:, None\]`.*\[\[3, 4, 5\]\]"):
                method.attribute(x, target, contrast=contrast)
        with pytest.raises(ValueError, match=r"`contrast\[:, None\]`.*\[\[3, 4, 5\]\]"):
            cam.explain(x, target, contrast=contrast)
        with pytest.raises(ValueError, match=r"`rivals\[:, None\]`.*\[\[3, 4, 5\]\]"):
            cam.attribute_rivals(x, target, contrast)

    @pytest.mark.parametrize("samples", [1, 2, 4])
    @pytest.mark.parametrize("at_once", [None, 1])
    def test_under_noise(self, net, x, samples, at_once):
        """NoiseTunnel repeats the targets and not the contrast."""
        tunnel = NoiseTunnel(LayerDiffGradCam(net, net.features))
        kwargs = {"nt_samples": samples, "nt_samples_batch_size": at_once}
        with pytest.raises(ValueError, match="`contrast`"):
            tunnel.attribute(x, target=torch.tensor([0, 1, 2]), contrast=torch.tensor([3, 4, 5]), **kwargs)

    def test_either_way_to_write_it(self, net, x):
        cam, target, rivals = LayerDiffGradCam(net, net.features), torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])
        one_each = torch.cat([cam.attribute(x[i : i + 1], i, contrast=3 + i) for i in range(3)])
        for contrast in (rivals[:, None], rivals[:, None].numpy(), [[3], [4], [5]]):
            torch.testing.assert_close(cam.attribute(x, target, contrast=contrast), one_each)
        one_set = torch.cat([cam.attribute(x[i : i + 1], i, contrast=[3, 4, 5]) for i in range(3)])
        for contrast in ([[3, 4, 5]], rivals[None], {3, 4, 5}, torch.arange(6) > 2):
            torch.testing.assert_close(cam.attribute(x, target, contrast=contrast), one_set)
        assert cam.attribute_rivals(x, target, [[3, 4, 5]]).rivals.shape == (3, 3)
        assert cam.attribute_rivals(x, target, rivals[:, None]).rivals.tolist() == [[3], [4], [5]]

    @pytest.mark.parametrize(
        "target",
        [2, (2,), torch.tensor(2), torch.tensor([2]), np.array(2), predicted_or_two],
        ids=["int", "tuple", "0-d", "one", "array", "callable"],
    )
    def test_with_one_target_for_all_a_list_is_one_set(self, net, x, target):
        cam = LayerDiffGradCam(net, net.features)
        expected = cam.attribute(x, 2, contrast=[[3, 4, 5]])
        torch.testing.assert_close(cam.attribute(x, target, contrast=[3, 4, 5]), expected)
        torch.testing.assert_close(cam.attribute(x, target, contrast=torch.tensor([3, 4, 5])), expected)

    @pytest.mark.parametrize("contrast", [[3], [3, 4], [3, 4, 5, 3], 3, {3, 4, 5}, [[3], [4], [5]]], ids=str)
    def test_lengths_and_forms_that_fit_one_reading(self, net, x, contrast):
        LayerDiffGradCam(net, net.features).attribute(x, [0, 1, 2], contrast=contrast)

    def test_one_image(self, net, x):
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(x[:1], [0], contrast=[3]), cam.attribute(x[:1], 0, contrast=3))

    def test_four_images_of_one_class_against_two(self, net):
        """Not taken for two examples, repeated."""
        cam, x = LayerDiffGradCam(net, net.features), images(4)
        torch.testing.assert_close(cam.attribute(x, [0] * 4, contrast=[3, 4]), cam.attribute(x, 0, contrast=[3, 4]))

    def test_four_images_of_four_classes_against_two(self, net):
        """Targets that change within a half were not made by repeating two examples."""
        cam, x = LayerDiffGradCam(net, net.features), images(4)
        expected = cam.attribute(x, [0, 1, 2, 3], contrast=[[4, 5]])
        torch.testing.assert_close(cam.attribute(x, [0, 1, 2, 3], contrast=[4, 5]), expected)

    def test_two_images(self, net, x):
        """The fewest for which there are two readings."""
        with pytest.raises(ValueError, match="`contrast`"):
            LayerDiffGradCam(net, net.features).attribute(x[:2], [0, 1], contrast=[3, 4])

    def test_masks_have_as_many_entries_as_classes(self, net):
        cam, x = LayerDiffGradCam(net, net.features), images(6)
        mask = torch.tensor([False, False, False, True, True, True])
        expected = cam.attribute(x, 1, contrast=[3, 4, 5])
        for contrast in (mask, mask.tolist(), mask.numpy()):
            torch.testing.assert_close(cam.attribute(x, [1] * 6, contrast=contrast), expected)

    def test_a_method_has_one_set_for_every_batch(self, net, x):
        method = CamMethod(LayerDiffGradCam, contrast=[3, 4, 5])
        maps = method.maps(net, net.features, x, torch.tensor([0, 1, 2]))
        expected = LayerDiffGradCam(net, net.features).attribute(x, [0, 1, 2], contrast=[[3, 4, 5]])
        torch.testing.assert_close(maps, expected[:, 0])

    def test_shifts_that_repeat_the_targets(self, net, x):
        """Six classes are no set for each of three images under two shifts at once."""
        part = EquivariantPart(LayerDiffGradCam(net, net.features), shifts=1)
        kwargs = {"target": [5, 5, 5], "contrast": [0, 1, 2, 3, 4, 4]}
        torch.testing.assert_close(part.attribute(x, shifts_per_eval=2, **kwargs), part.attribute(x, **kwargs))


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
