"""Captum's tools, and Quantus, take our attributions as they take Captum's own."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
import torch
from captum.attr import GuidedGradCam, IntegratedGradients, LayerGradCam, NoiseTunnel
from captum.attr import visualization as viz
from captum.metrics import infidelity, sensitivity_max
from captum.robust import FGSM
from nets import conv_net, images

from captum_diffcam import ContrastScore, InputAttribution, LayerDiffGradCam, LayerDiffGradCamPlusPlus, top_rivals

METHODS = [LayerDiffGradCam, LayerDiffGradCamPlusPlus]
TARGETS = [2, 0, 5]
PER_EXAMPLE = [[0, 1], [5], [0, 2, 3]]


@pytest.mark.parametrize(
    "contrast", [None, [1, 4], top_rivals(2), PER_EXAMPLE, torch.tensor([[0, 1], [1, 2], [3, 4]])], ids=str
)
@pytest.mark.parametrize("method", METHODS)
class TestNoiseTunnel:
    @pytest.mark.parametrize("samples_at_once", [None, 1, 2])
    def test_without_noise_it_is_the_map(self, net, x, method, contrast, samples_at_once):
        kwargs = {"target": TARGETS, "contrast": contrast}
        cam = method(net, net.features)
        tunnel = NoiseTunnel(cam).attribute(
            x, nt_samples=5, stdevs=0.0, nt_samples_batch_size=samples_at_once, **kwargs
        )
        torch.testing.assert_close(tunnel, cam.attribute(x, **kwargs))

    def test_with_noise_it_is_the_mean_over_noisy_inputs(self, net, x, method, contrast):
        kwargs = {"target": TARGETS, "contrast": contrast}
        torch.manual_seed(0)
        tunnel = NoiseTunnel(method(net, net.features)).attribute(x, nt_samples=4, stdevs=0.3, **kwargs)
        torch.manual_seed(0)
        noisy = x.repeat_interleave(4, 0) + torch.normal(0, torch.full((12, *x.shape[1:]), 0.3))
        expected = []
        for i in range(3):
            single = (
                contrast[i : i + 1]
                if not callable(contrast) and contrast is not None and len(contrast) == 3
                else contrast
            )
            maps = method(net, net.features).attribute(noisy[4 * i : 4 * i + 4], target=TARGETS[i], contrast=single)
            expected.append(maps.mean(0))
        torch.testing.assert_close(tunnel, torch.stack(expected))


@pytest.mark.parametrize("nt_type", ["smoothgrad", "smoothgrad_sq", "vargrad"])
def test_noise_tunnel_over_the_input(net, x, nt_type):
    cam = InputAttribution(LayerDiffGradCam(net, net.features))
    maps = NoiseTunnel(cam).attribute(x, nt_type=nt_type, nt_samples=3, target=TARGETS)
    assert maps.shape == x.shape
    assert isinstance(NoiseTunnel(cam).attribute((x,), nt_samples=2, target=TARGETS), tuple)


@pytest.mark.parametrize("contrast", [None, [1, 4], PER_EXAMPLE], ids=str)
@pytest.mark.parametrize("samples", [1, 4])
def test_sensitivity_max(net, x, contrast, samples):
    """Against the same perturbations, one example at a time."""
    cam = InputAttribution(LayerDiffGradCam(net, net.features))
    torch.manual_seed(0)
    noise = 0.05 * torch.randn(3 * samples, *x.shape[1:])
    sensitivity = sensitivity_max(
        cam.attribute, x, lambda inputs: inputs + noise, n_perturb_samples=samples, target=TARGETS, contrast=contrast
    )
    for i in range(3):
        kwargs = {"target": TARGETS[i], "contrast": contrast[i] if contrast is PER_EXAMPLE else contrast}
        map_ = cam.attribute(x[i : i + 1], **kwargs)
        moved = [cam.attribute(x[i : i + 1] + n[None], **kwargs) for n in noise[i * samples : (i + 1) * samples]]
        expected = max((m - map_).norm() for m in moved) / map_.norm()
        assert sensitivity[i].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("normalize", [False, True])
def test_infidelity(net, x, normalize):
    """Against the score that was explained; the definition of the metric, by hand."""
    score = ContrastScore(net)
    maps = InputAttribution(LayerDiffGradCam(net, net.features)).attribute(x, target=TARGETS)
    torch.manual_seed(0)
    noise = 0.05 * torch.randn(9, *x.shape[1:])
    value = infidelity(
        score,
        lambda inputs: (noise, inputs - noise),
        x,
        maps,
        target=TARGETS,
        n_perturb_samples=3,
        normalize=normalize,
    )
    rows = torch.arange(9)
    targets = torch.tensor(TARGETS).repeat_interleave(3)
    repeated = x.repeat_interleave(3, 0)
    drop = (score(repeated) - score(repeated - noise))[rows, targets].detach().reshape(3, 3)
    claimed = (noise * maps.repeat_interleave(3, 0)).sum((1, 2, 3)).reshape(3, 3)
    beta = (drop * claimed).sum(1, keepdim=True) / claimed.square().sum(1, keepdim=True) if normalize else 1.0
    torch.testing.assert_close(value, (beta * claimed - drop).square().mean(1), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
def test_integrated_gradients_of_the_contrast_score_add_up(net, x, reduction):
    """Completeness: the attributions sum to the change of the score from the baseline."""
    score = ContrastScore(net, reduction=reduction)
    attributions, delta = IntegratedGradients(score).attribute(
        x, target=TARGETS, n_steps=200, return_convergence_delta=True
    )
    change = (score(x) - score(torch.zeros_like(x)))[torch.arange(3), torch.tensor(TARGETS)].detach()
    torch.testing.assert_close(attributions.sum((1, 2, 3)).float(), change, rtol=2e-2, atol=2e-2)
    assert delta.abs().max() < 2e-2


def test_robustness_tools(net, x):
    """FGSM climbs its loss, which here is the log-odds of the decision."""
    score, rows = ContrastScore(net), torch.arange(3)
    best = net(x).argmax(1)
    x.requires_grad_()  # Captum warns otherwise
    attacked = FGSM(score, loss_func=lambda scores, target: scores[rows, target]).perturb(x, 0.01, best)
    before, after = (score(inputs)[rows, best] for inputs in (x, attacked))
    assert (after > before).all()


@pytest.mark.filterwarnings("ignore")  # Quantus and what it imports warn a great deal
def test_quantus(net, x):
    """Pixel flipping of the contrast score, in Quantus and by hand: a third of it at a time, the highest first."""
    quantus = pytest.importorskip("quantus", exc_type=ImportError)
    score, targets = ContrastScore(net), np.array(TARGETS)
    cam = InputAttribution(LayerDiffGradCam(net, net.features))
    a_batch = cam.attribute(x, torch.tensor(TARGETS)).sum(1, keepdim=True).numpy()
    metric = quantus.PixelFlipping(
        features_in_step=81, perturb_baseline=0.0, abs=False, normalise=False, display_progressbar=False
    )
    curves = metric(score, x.numpy(), targets, a_batch, softmax=False, device="cpu")
    order = np.argsort(-np.broadcast_to(a_batch, x.shape).reshape(3, -1), axis=1)
    for step in range(3):
        flipped = x.flatten(1).scatter(1, torch.from_numpy(order[:, : 81 * (step + 1)].copy()), 0.0)
        expected = score(flipped.reshape(x.shape))[range(3), TARGETS].tolist()
        assert [curve[step] for curve in curves] == pytest.approx(expected, abs=1e-5)


def test_the_layer_of_a_guided_grad_cam():
    """Captum's GuidedGradCam builds its own LayerGradCam; ours can take its place."""
    net, x = conv_net(), images()
    x.requires_grad_()  # Captum warns otherwise
    guided = GuidedGradCam(net, net.features)
    expected = guided.attribute(x, target=1)
    guided.grad_cam = LayerDiffGradCam(net, net.features)
    contrasted = guided.attribute(x, target=1)
    assert contrasted.shape == expected.shape
    assert not torch.allclose(contrasted, expected)


@pytest.mark.parametrize("method", [LayerGradCam, *METHODS])
def test_a_map_of_zeros_is_refused_by_captums_visualization(net, x, method):
    """Whoever made it."""
    with torch.no_grad():
        net.head[-1].weight.zero_()
    map_ = method(net, net.features).attribute(x, target=1).detach()
    assert map_.abs().max() == 0
    with pytest.raises(AssertionError, match="Cannot normalize by scale factor = 0"):
        viz.visualize_image_attr(map_[0].permute(1, 2, 0).numpy(), None, "heat_map", use_pyplot=False)


def test_interpolate_and_visualize(net, x):
    matplotlib.use("Agg")
    cam = LayerDiffGradCam(net, net.features)
    upsampled = LayerDiffGradCam.interpolate(cam.attribute(x, target=1), (9, 9), "bilinear")
    assert upsampled.shape == (3, 1, 9, 9)
    image = x[0].permute(1, 2, 0).numpy()
    for attribution in (upsampled[0], InputAttribution(cam).attribute(x, target=1)[0]):
        figure, _ = viz.visualize_image_attr(
            attribution.permute(1, 2, 0).numpy(), image, "blended_heat_map", "all", use_pyplot=False
        )
        assert len(figure.axes[0].images) == 2
