"""Numbers small enough to check by hand, on Captum's own test models.

The convolutional model on the image 0..15 has, behind its ReLU, channel 0 = [0, 4, 31, 40] and channel 1 =
[0, 0, 6, 15]. Each logit is the sum of channel 0 and minus channel 1 (but for its first position), 54.
"""

from __future__ import annotations

import pytest
import torch

from captum_diffcam import LayerDiffGradCam, LayerDiffGradCamPlusPlus, LayerDiffHiResCam

basic_models = pytest.importorskip("captum.testing.helpers.basic_models", reason="ships with Captum since 0.9")

IMAGE = torch.arange(16.0).view(1, 1, 4, 4)


@pytest.fixture
def conv():
    return basic_models.BasicModel_ConvNet_One_Conv()


@pytest.fixture
def contrasted(conv):
    """Logit 1 is the sum of channel 1, 21; logits 0, 2 and 3 stay at 54."""
    with torch.no_grad():
        conv.fc1.weight[1] = torch.tensor([0.0, 0, 0, 0, 1, 1, 1, 1])
    return conv


def attribute(net, layer, x, method=LayerDiffGradCam, **kwargs):
    return method(net, layer).attribute(x, **{"target": 0, "contrast": [], **kwargs})


class TestCaptumsOwnCases:
    """The numbers of Captum's tests of LayerGradCam, from an empty contrast set."""

    def test_layer_without_positions(self):
        net = basic_models.BasicModel_MultiLayer()
        assert attribute(net, net.linear0, torch.tensor([[0.0, 100.0, 0.0]])).tolist() == [[400.0]]

    def test_layer_with_several_tensors(self):
        net = basic_models.BasicModel_MultiLayer(multi_input_module=True)
        maps = attribute(net, net.multi_relu, torch.tensor([[0.0, 6.0, 0.0]]))
        assert isinstance(maps, tuple)
        assert [m.tolist() for m in maps] == [[[21.0]], [[21.0]]]

    def test_convolution(self, conv):
        assert attribute(conv, conv.conv1, IMAGE).tolist() == [[[[11.25, 13.5], [20.25, 22.5]]]]

    def test_channels_apart(self, conv):
        maps = attribute(conv, conv.conv1, IMAGE, attr_dim_summation=False)
        assert maps.tolist() == [[[[-3.75, 3.0], [23.25, 30.0]], [[15.0, 10.5], [-3.0, -7.5]]]]

    def test_frozen_parameters(self, conv):
        conv.requires_grad_(False)
        assert attribute(conv, conv.conv1, IMAGE).tolist() == [[[[11.25, 13.5], [20.25, 22.5]]]]

    def test_relu_layer(self, conv):
        assert attribute(conv, conv.relu1, IMAGE).tolist() == [[[[0.0, 4.0], [28.0, 32.5]]]]

    def test_layer_input_keeps_negative_values(self, conv):
        x = IMAGE.clone()
        x[0, 0, 1, 1] = -4.0
        maps = attribute(conv, conv.conv1, x, attribute_to_layer_input=True)
        torch.testing.assert_close(maps, 0.5625 * x)

    def test_layer_input_rectified(self, conv):
        x = IMAGE.clone()
        x[0, 0, 1, 1] = -4.0
        maps = attribute(conv, conv.conv1, x, attribute_to_layer_input=True, relu_attributions=True)
        torch.testing.assert_close(maps, 0.5625 * x.relu())

    def test_two_inputs(self, conv):
        maps = attribute(conv, conv.conv1, (IMAGE, torch.ones(1, 1, 4, 4)))
        assert maps.tolist() == [[[[14.5, 19.0], [32.5, 37.0]]]]

    def test_unused_layer_is_zero_on_request(self):
        net = basic_models.BasicModel_MultiLayer(multi_input_module=True)
        x = torch.tensor([[0.0, 6.0, 0.0]])
        maps = attribute(net, net.relu, x, grad_kwargs={"materialize_grads": True})
        assert maps.tolist() == [[0.0]]


class TestContrast:
    def test_equal_logits_leave_nothing(self, conv):
        """All four logits are the same function, so none is preferred."""
        assert attribute(conv, conv.relu1, IMAGE, contrast=None).abs().max() < 1e-5

    def test_one_rival(self, contrasted):
        """The gradient is 1 on channel 0 and (0, -2, -2, -2) on channel 1: weights 1 and -1.5."""
        maps = attribute(contrasted, contrasted.relu1, IMAGE, contrast=1)
        assert maps.tolist() == [[[[0.0, 4.0], [22.0, 17.5]]]]

    def test_mean_of_two_rivals(self, contrasted):
        """Logit 2 is logit 0 itself and takes half of the contrast: half the map."""
        maps = attribute(contrasted, contrasted.relu1, IMAGE, contrast=[1, 2], reduction="mean")
        assert maps.tolist() == [[[[0.0, 2.0], [11.0, 8.75]]]]

    def test_the_strongest_rival_only(self, contrasted):
        maps = attribute(contrasted, contrasted.relu1, IMAGE, contrast=[1, 2], reduction="max")
        assert maps.tolist() == [[[[0.0, 0.0], [0.0, 0.0]]]]

    @pytest.mark.parametrize("reduction", ["max", "logsumexp"])
    def test_ties_share_evenly(self, contrasted, reduction):
        """A bias of 33 makes logit 1 as large as logit 2, 54: each is half of the contrast."""
        with torch.no_grad():
            contrasted.fc1.bias[1] = 33.0
        maps = attribute(contrasted, contrasted.relu1, IMAGE, contrast=[1, 2], reduction=reduction)
        torch.testing.assert_close(maps, torch.tensor([[[[0.0, 2.0], [11.0, 8.75]]]]))

    def test_plus_plus(self, contrasted):
        """Channel 0 has four gradients of 1 and sums to 75: weight 4 / (2 + 75). Channel 1 has none above 0."""
        maps = attribute(contrasted, contrasted.relu1, IMAGE, LayerDiffGradCamPlusPlus, contrast=1)
        torch.testing.assert_close(maps, 4 / 77 * torch.tensor([[[[0.0, 4.0], [31.0, 40.0]]]]))

    def test_plain_plus_plus(self, conv):
        """Channel 1 has one gradient of 1 and sums to 21: weight 1 / (2 + 21)."""
        maps = attribute(conv, conv.relu1, IMAGE, LayerDiffGradCamPlusPlus)
        expected = 4 / 77 * torch.tensor([0.0, 4, 31, 40]) + 1 / 23 * torch.tensor([0.0, 0, 6, 15])
        torch.testing.assert_close(maps.flatten(), expected)

    def test_hires(self, contrasted):
        """The gradient is 1 on channel 0 and (0, -2, -2, -2) on channel 1, and each position keeps its own."""
        explanation = LayerDiffHiResCam(contrasted, contrasted.relu1).explain(IMAGE, 0, contrast=1)
        assert explanation.maps.tolist() == [[[[0.0, 4.0], [31.0 - 2 * 6, 40.0 - 2 * 15]]]]
        # The logits are 54 and 21, and the model has no bias.
        assert explanation.score.tolist() == [33.0]
        assert explanation.remainder.tolist() == [0.0]

    def test_plain_hires(self, conv):
        """The gradient on channel 1 is (1, -1, -1, -1): 75 - 21 = 54, which is the logit."""
        maps = attribute(conv, conv.relu1, IMAGE, LayerDiffHiResCam)
        assert maps.tolist() == [[[[0.0, 4.0], [31.0 - 6, 40.0 - 15]]]]
