"""Whom the faithfulness benchmark compares: every map explains its score."""

from __future__ import annotations

import pytest
import torch

from benchmarks.common.localization import upsample
from benchmarks.common.peers import PEERS
from benchmarks.faithfulness.methods import PAIRWISE, Question, explainers, log_odds_and_margin
from captum_diffcam import LayerDiffGradCamPlusPlus


def question_of(net, x) -> Question:
    with torch.no_grad():
        return Question.of(net(x), torch.tensor([0, 1, 2]), torch.tensor([5, 3, 0]))


def test_the_nearest_classes_leave_the_target_out():
    logits = torch.tensor([[1.0, 5, 4, 2, -9], [3, 0, 0.5, 9, 3.5]])
    question = Question.of(logits, torch.tensor([1, 0]), torch.tensor([2, 3]))
    assert question.nearest.tolist() == [[2, 3, 0], [4, 2, 1]]
    assert [part.tolist() for part in question.repeated(2)][:2] == [[1, 1, 0, 0], [2, 2, 3, 3]]


def test_every_map_explains_its_score(net, x):
    """Literal Grad-CAM of each explainer's score; peers give its positive part, scaled and enlarged."""
    question = question_of(net, x)
    checked = set()
    for explainer in explainers(net, net.features, seed=0):
        # Grad-CAM++ has other weights, and one peer's weights of three references let the gradient through.
        if "++" in explainer.name or explainer.name in ("FinerCAM pytorch-grad-cam, its own 3", "random map"):
            continue
        activation = net.features(x).detach().requires_grad_()
        score = explainer.score(net.head(activation), question).sum()
        (gradient,) = torch.autograd.grad(score, activation)
        literal = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1).detach()
        found = explainer.maps(x, question)
        if explainer.name.startswith("FinerCAM"):
            literal, found = upsample(literal.relu(), 9, 9), upsample(found, 9, 9)
            for a, b in zip(literal, found, strict=True):
                assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.999, explainer.name
        else:
            torch.testing.assert_close(found, literal, msg=explainer.name)
        checked.add(explainer.name)
    assert {"LayerGradCam", PAIRWISE, "DiffGradCAM mean, every other class"} < checked


def test_plus_plus_is_asked_the_same(net, x):
    question = question_of(net, x)
    found = {explainer.name: explainer.maps(x, question) for explainer in explainers(net, net.features, 0)}
    cam = LayerDiffGradCamPlusPlus(net, net.features)
    targets = question.targets
    expected = {
        "Grad-CAM++": cam.attribute(x, targets, contrast=[]),
        "DiffGradCAM++, rival": torch.cat(
            [
                cam.attribute(x[i : i + 1], int(targets[i]), contrast=int(rival))
                for i, rival in enumerate(question.rivals)
            ]
        ),
        "DiffGradCAM++ max, every other class": cam.attribute(x, targets, reduction="max"),
    }
    for name, maps in expected.items():
        torch.testing.assert_close(found[name], maps[:, 0], msg=name)


@pytest.mark.parametrize("library", PEERS)
def test_peers_leave_the_model_as_it_was(net, x, library):
    pytest.importorskip(PEERS[library], exc_type=ImportError)
    (explainer,) = (e for e in explainers(net, net.features, 0) if e.name == f"FinerCAM {library}, rival")
    with torch.no_grad():
        before = net(x)
        explainer.maps(x, question_of(net, x))
        torch.testing.assert_close(net(x), before)
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_decision_is_its_log_odds_and_margin(net, x):
    question, logits = question_of(net, x), net(x).detach()
    p = logits.double().softmax(dim=1)
    for row, (target, rival) in enumerate(zip(question.targets, question.rivals, strict=True)):
        odds, margin = log_odds_and_margin(logits, question)[row].tolist()
        assert odds == pytest.approx(float((p[row, target] / (1 - p[row, target])).log()), abs=1e-4)
        assert margin == pytest.approx(float(logits[row, target] - logits[row, rival]), abs=1e-5)
