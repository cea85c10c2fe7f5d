"""What must hold for any logits, any set and any model."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Net, conv_net, images
from torch import Tensor, nn

from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam, top_rivals

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam]
REDUCTIONS = ["logsumexp", "mean", "max"]
CONTRASTS = [None, [1, 4], top_rivals(2)]
TARGETS = [2, 0, 5]


class Lambda(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, a: Tensor) -> Tensor:
        return self.function(a)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("contrast", CONTRASTS, ids=str)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("common", ["linear", "square", "another network"])
def test_a_term_added_to_every_logit_cancels_out(common, method, contrast, reduction):
    net, x = conv_net(), images()
    hoax = torch.linspace(0, 10, 49).reshape(1, 1, 7, 7)
    functions = {
        "linear": lambda a: (a * hoax).sum((1, 2, 3))[:, None],
        "square": lambda a: (a.square() * hoax).sum((1, 2, 3))[:, None],
        "another network": lambda a: 10 * conv_net(seed=7).head(a)[:, :1],
    }
    hoaxed = Net(net.features, Lambda(lambda a: net.head(a) + functions[common](a)))
    kwargs = {"target": TARGETS, "contrast": contrast, "reduction": reduction}
    clean = method(net, net.features).attribute(x, **kwargs)
    torch.testing.assert_close(method(hoaxed, hoaxed.features).attribute(x, **kwargs), clean, rtol=1e-3, atol=2e-4)
    plain = [LayerGradCam(m, m.features).attribute(x, target=TARGETS) for m in (net, hoaxed)]
    assert (plain[0] - plain[1]).abs().max() > 1e-2, "the hoax must be visible to Grad-CAM"


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("method", METHODS)
def test_classes_may_be_renumbered(method, reduction):
    net, x = conv_net(), images()
    order = [3, 0, 5, 1, 4, 2]
    renumbered = Net(net.features, Lambda(lambda a: net.head(a)[:, order]))
    old = method(net, net.features).attribute(x, target=TARGETS, contrast=[1, 4], reduction=reduction)
    new_targets = [order.index(c) for c in TARGETS]
    rivals = [order.index(c) for c in (1, 4)]
    new = method(renumbered, net.features).attribute(x, target=new_targets, contrast=rivals, reduction=reduction)
    torch.testing.assert_close(new, old)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("contrast", [*CONTRASTS, []], ids=str)
def test_grad_cam_of_the_contrast_score_is_diff_grad_cam(contrast, reduction):
    net, x = conv_net(), images()
    ours = LayerDiffGradCam(net, net.features).attribute(x, target=TARGETS, contrast=contrast, reduction=reduction)
    theirs = LayerGradCam(ContrastScore(net, contrast, reduction), net.features).attribute(x, target=TARGETS)
    torch.testing.assert_close(theirs, ours)


@pytest.mark.parametrize("method", [LayerDiffGradCam, LayerDiffHiResCam])
@pytest.mark.parametrize("reduction", ["logsumexp", "mean"])
def test_a_map_is_the_weighted_sum_of_its_pairwise_maps(reduction, method):
    net, x = conv_net(), images()
    cam = method(net, net.features)
    rivals = [1, 3, 4]
    weights = net(x)[:, rivals].softmax(1) if reduction == "logsumexp" else torch.full((3, 3), 1 / 3)
    total = cam.attribute(x, target=TARGETS, contrast=[rivals], reduction=reduction)
    pairwise = [cam.attribute(x, target=TARGETS, contrast=j) for j in rivals]
    torch.testing.assert_close(sum(w[:, None, None, None] * m for w, m in zip(weights.T, pairwise, strict=True)), total)


def test_linear_in_the_gradient():
    """Twice the logits: twice the Grad-CAM weights of the mean contrast, so twice the map."""
    net, x = conv_net(), images()
    doubled = Net(net.features, Lambda(lambda a: 2 * net.head(a)))
    maps = [LayerDiffGradCam(m, net.features).attribute(x, target=TARGETS, reduction="mean") for m in (net, doubled)]
    torch.testing.assert_close(maps[1], 2 * maps[0])


def test_opposite_questions_have_opposite_maps():
    net, x = conv_net(), images()
    cam = LayerDiffGradCam(net, net.features)
    torch.testing.assert_close(cam.attribute(x, target=1, contrast=4), -cam.attribute(x, target=4, contrast=1))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_one_rival_is_the_same_under_every_reduction(method, reduction):
    net, x = conv_net(), images()
    cam = method(net, net.features)
    torch.testing.assert_close(
        cam.attribute(x, target=1, contrast=4, reduction=reduction), cam.attribute(x, target=1, contrast=4)
    )


@pytest.mark.parametrize("method", METHODS)
def test_channels_add_up_and_relu_is_last(method):
    net, x = conv_net(signed=True), images()
    cam = method(net, net.features)
    total = cam.attribute(x, target=TARGETS)
    channels = cam.attribute(x, target=TARGETS, attr_dim_summation=False)
    assert channels.shape == (3, 5, 7, 7)
    torch.testing.assert_close(channels.sum(1, keepdim=True), total)
    assert (total < 0).any()
    torch.testing.assert_close(cam.attribute(x, target=TARGETS, relu_attributions=True), total.relu())


logit_rows = st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=8)


@pytest.mark.filterwarnings("ignore:.forward_func. returned")  # rows that look like probabilities are drawn too
@settings(deadline=None, max_examples=150)
@given(row=logit_rows, shift=st.floats(-1e3, 1e3, width=32), reduction=st.sampled_from(REDUCTIONS), data=st.data())
def test_a_shift_of_all_logits_cancels_out(row, shift, reduction, data):
    contrast = data.draw(st.none() | st.lists(st.sampled_from(range(len(row))), min_size=2))
    if contrast is not None and len(set(contrast)) < 2:
        return  # A column whose set is empty is its own logit, which does shift.
    logits = torch.tensor([row], dtype=torch.float64)
    score = ContrastScore(lambda x: x, contrast, reduction)
    torch.testing.assert_close(score(logits + shift), score(logits), rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:.forward_func. returned")
@settings(deadline=None, max_examples=150)
@given(row=logit_rows, reduction=st.sampled_from(REDUCTIONS), data=st.data())
def test_the_gradient_of_a_score_sums_to_zero(row, reduction, data):
    """One for the target, minus weights that sum to one."""
    column = data.draw(st.sampled_from(range(len(row))))
    logits = torch.tensor([row], requires_grad=True)
    ContrastScore(lambda x: x, None, reduction)(logits)[0, column].backward()
    assert logits.grad[0, column] == pytest.approx(1, abs=1e-5)
    assert logits.grad.sum() == pytest.approx(0, abs=1e-5)
    others = [j for j in range(len(row)) if j != column]
    assert (logits.grad[0, others] <= 1e-6).all()
