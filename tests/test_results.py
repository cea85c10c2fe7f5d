"""The named tuples that attribution methods return."""

from __future__ import annotations

import torch
from nets import conv_net

from captum_diffcam import EquivariantPart, LayerDiffGradCam, LayerDiffGradCamPlusPlus, predicted, top_rivals


def test_the_score_is_the_contrast_score(x):
    net = conv_net()
    logits = net(x).detach().double()
    own = logits[:, 1]
    others = logits[:, [0, 2, 3, 4, 5]]
    cam = LayerDiffGradCam(net, net.features)
    for contrast, reduction, expected in (
        (None, "logsumexp", own - others.logsumexp(dim=1)),
        ([2, 5], "mean", own - logits[:, [2, 5]].mean(dim=1)),
        ([2, 5], "max", own - logits[:, [2, 5]].amax(dim=1)),
        ([], "logsumexp", own),
    ):
        score = cam.explain(x, 1, contrast=contrast, reduction=reduction).score
        assert not score.requires_grad
        torch.testing.assert_close(score.double(), expected, atol=1e-5, rtol=1e-5)


def test_the_score_of_a_differentiable_map_has_no_graph(x):
    net = conv_net()
    explanation = LayerDiffGradCamPlusPlus(net, net.features).explain(x, grad_kwargs={"create_graph": True})
    assert explanation.maps.requires_grad
    assert not explanation.score.requires_grad


def test_the_contrast_mask_says_who_the_rivals_were(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    everyone = cam.explain(x, [0, 1, 2])
    assert everyone.contrast_mask.tolist() == [[j != i for j in range(6)] for i in range(3)]
    strongest = cam.explain(x, contrast=top_rivals(2)).contrast_mask
    order = net(x).argsort(dim=1, descending=True)
    expected = torch.zeros(3, 6, dtype=torch.bool).scatter(1, order[:, 1:3], True)
    assert strongest.equal(expected)
    assert not cam.explain(x, 1, contrast=[]).contrast_mask.any()


def test_a_random_contrast_is_asked_once(x):
    calls = []

    def contrast(logits, target):
        calls.append(len(logits))
        return torch.zeros_like(logits, dtype=torch.bool).scatter(1, (target[:, None] + 1) % 6, True)

    net = conv_net()
    explanation = LayerDiffGradCam(net, net.features).explain(x, contrast=contrast)
    assert calls == [3]
    assert explanation.contrast_mask.long().argmax(dim=1).equal((explanation.target + 1) % 6)


def test_repr_is_compact(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    explanation = cam.explain(x, [4, 1, 5])
    text = repr(explanation)
    assert text.startswith("Explanation(maps=(3, 1, 7, 7), target=[4, 1, 5], logits=(3, 6), score=[")
    assert f"{explanation.score[0].item():.3g}" in text
    assert "tensor" not in text
    both = LayerDiffGradCam(net, [net.features, net.head[1]]).explain(x)
    assert "maps=[(3, 1, 7, 7), (3, 1, 5, 5)]" in repr(both)
    rivals = cam.attribute_rivals(x, predicted, top_rivals(2))
    assert f"rivals={rivals.rivals.tolist()}" in repr(rivals)
    assert "tensor" not in repr(rivals)
    split = EquivariantPart(cam, shifts=1).decompose(x, 1)
    assert "tensor" not in repr(split)
    assert "static_share=[" in repr(split)
    many = cam.explain(x.repeat(40, 1, 1, 1))
    assert len(repr(many)) < 300
