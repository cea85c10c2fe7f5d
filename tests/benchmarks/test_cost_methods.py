"""Every method does the job that is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from captum.attr import LayerGradCam

from benchmarks.common.names import LITE0
from benchmarks.common.peers import PEERS
from benchmarks.cost.cases import Case
from benchmarks.cost.jobs import EARLIEST, EXPLAIN, FORWARD, JOBS, LAYERS, RIVALS, is_measured
from benchmarks.cost.methods import action, available
from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus

CASE = Case("mobilenet_v3_small", "early", 2, 32, 5)


@pytest.mark.parametrize(
    ("name", "method"),
    [("LayerGradCam", LayerGradCam), ("DiffGradCAM", LayerDiffGradCam), ("DiffGradCAM++", LayerDiffGradCamPlusPlus)],
)
def test_every_method_makes_its_map(name, method):
    subject = CASE.build()
    maps = action(name, subject)()
    expected = method(subject.model, subject.layers[0]).attribute(subject.images, target=subject.targets)
    torch.testing.assert_close(maps, expected)


def test_a_bare_forward_records_nothing():
    output = action("forward", CASE.build())()
    assert output.shape == (2, 5)
    assert not output.requires_grad


def test_what_goes_into_a_layer_is_explained():
    subject = Case(LITE0, "late", 1, 64, 5).build()
    assert subject.at_input
    ours = LayerDiffGradCam(subject.model, subject.layers[0])
    expected = ours.attribute(subject.images, subject.targets, attribute_to_layer_input=True)
    torch.testing.assert_close(action("DiffGradCAM", subject)(), expected)
    assert action("LayerGradCam", subject)().shape == expected.shape
    assert available("map", at_input=True) == ["forward", "LayerGradCam", "DiffGradCAM"]


def test_the_prediction_is_explained():
    subject = replace(CASE, job=EXPLAIN).build()
    with torch.no_grad():
        classes = subject.model(subject.images).argmax(1)
    maps, target, *_ = action("DiffGradCAM", subject)()
    assert target.equal(classes)
    ((plain,),) = action("LayerGradCam", subject)()
    for found, method in ((maps, LayerDiffGradCam), (plain, LayerGradCam)):
        torch.testing.assert_close(found, method(subject.model, subject.layers[0]).attribute(subject.images, classes))


def test_pairwise_maps_are_differences_of_plain_ones():
    subject = replace(CASE, job=RIVALS, classes=9).build()
    ours, ((target,), *rivals) = action("DiffGradCAM", subject)(), action("LayerGradCam", subject)()
    assert ours.rivals.shape == (2, 5)
    torch.testing.assert_close(ours.maps, torch.stack([target - rival for (rival,) in rivals], dim=1).detach())


def test_three_layers_and_the_earliest_alone():
    subject = replace(CASE, job=LAYERS, size=64).build()
    ours, earliest, (plain,) = (action(name, subject)() for name in ("DiffGradCAM", EARLIEST, "LayerGradCam"))
    assert [maps.shape for maps in ours.maps] == [maps.shape for maps in plain]
    torch.testing.assert_close(ours.maps[0], earliest.maps)


@pytest.mark.parametrize("job", JOBS)
def test_who_is_measured(job):
    measured = available(job)
    assert measured[:3] == [FORWARD, "LayerGradCam", "DiffGradCAM"]
    assert (EARLIEST in measured) == (job == LAYERS)


@pytest.mark.parametrize("name", PEERS)
def test_peers_explain_the_same_map(name):
    """Theirs is rectified and scaled, so only where they point is compared."""
    pytest.importorskip(PEERS[name], exc_type=ImportError)
    subject = Case("resnet50", "late", 1, 96).build()
    captum = LayerGradCam(subject.model, subject.layers[0])
    plain = {c: captum.attribute(subject.images, target=c).detach() for c in range(10)}
    target = max(plain, key=lambda c: plain[c].relu().sum())  # random weights: some maps have nothing above zero
    maps = action(name, subject._replace(targets=[target]))()
    maps = torch.as_tensor(maps[0] if isinstance(maps, list) else maps)
    ours = torch.nn.functional.interpolate(plain[target].relu(), maps.shape[1:], mode="bilinear")
    assert torch.corrcoef(torch.stack([maps.flatten(), ours.flatten()]))[0, 1] > 0.95


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize(("job", "count"), [(EXPLAIN, 1), (RIVALS, 6), (LAYERS, 1)])
def test_peers_do_the_other_jobs(name, job, count):
    pytest.importorskip(PEERS[name], exc_type=ImportError)
    if is_measured(name, job):
        found = action(name, replace(CASE, job=job, classes=9, size=64).build())()
        if name == "torchcam":
            assert [len(maps) for maps in found] == [3 if job == LAYERS else 1] * count
        else:
            assert found.shape == (2, 64, 64)
