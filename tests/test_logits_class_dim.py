"""Outputs whose classes are not along dimension 1: the argument that says so, and the warning that asks for it."""

from __future__ import annotations

import pytest
import torch
from captum.attr import LayerGradCam
from nets import conv_net, images
from torch import Tensor, nn

from captum_diffcam import (
    ContrastScore,
    EquivariantPart,
    GuidedDiffGradCam,
    LayerDiffGradCam,
    LayerDiffGradCamPlusPlus,
    predicted,
    top_rivals,
)
from captum_diffcam.logits import doubt_about_classes

X = images(2)
QUERIES, CLASSES = 4, 6


class Detector(nn.Module):
    """Queries of a detector, each with logits for all classes: (N, queries, C)."""

    def __init__(self) -> None:
        super().__init__()
        net = conv_net(classes=QUERIES * CLASSES)
        self.features, self.head = net.features, net.head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x)).unflatten(1, (QUERIES, CLASSES))


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector().eval()


class TestQueries:
    """Query q of a detector is explained as a classifier that returns the logits of query q."""

    @pytest.mark.parametrize("class_dim", [2, -1])
    @pytest.mark.parametrize("contrast", [None, 4, [0, 3], top_rivals(2), [[0], [3, 4]], []])
    @pytest.mark.parametrize("method", [LayerDiffGradCam, LayerDiffGradCamPlusPlus])
    def test_maps(self, detector, method, contrast, class_dim):
        of_query = method(lambda x: detector(x)[:, 2], detector.features)
        of_output = method(detector, detector.features, class_dim=class_dim)
        expected = of_query.explain(X, 1, contrast=contrast)
        result = of_output.explain(X, (2, 1), contrast=contrast)
        torch.testing.assert_close(result.maps, expected.maps)
        torch.testing.assert_close(result.score, expected.score)
        assert result.target.tolist() == [1, 1]
        assert result.contrast_mask.equal(expected.contrast_mask)
        assert result.logits.shape == (2, QUERIES, CLASSES)

    def test_one_query_per_example(self, detector):
        result = LayerDiffGradCam(detector, detector.features, class_dim=2).attribute(X, [(0, 5), (3, 1)])
        for n, (query, index) in enumerate([(0, 5), (3, 1)]):
            of_query = LayerDiffGradCam(lambda x, q=query: detector(x)[:, q], detector.features)
            torch.testing.assert_close(result[n : n + 1], of_query.attribute(X[n : n + 1], index))

    def test_rivals(self, detector):
        of_query = LayerDiffGradCam(lambda x: detector(x)[:, 2], detector.features).attribute_rivals(X, 1)
        of_output = LayerDiffGradCam(detector, detector.features, class_dim=-1).attribute_rivals(X, (2, 1))
        torch.testing.assert_close(of_output.maps, of_query.maps)
        assert of_output.rivals.equal(of_query.rivals)

    def test_the_map_of_one_logit_is_captums(self, detector):
        expected = LayerGradCam(detector, detector.features).attribute(X, (2, 1)).detach()
        cam = LayerDiffGradCam(detector, detector.features, class_dim=-1)
        torch.testing.assert_close(cam.attribute(X, (2, 1), contrast=[]), expected)

    def test_other_methods(self, detector):
        class OfQuery(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.detector = detector

            def forward(self, x):
                return self.detector(x)[:, 2]

        guided = GuidedDiffGradCam(detector, detector.features, class_dim=2).attribute(X, (2, 1))
        torch.testing.assert_close(guided, GuidedDiffGradCam(OfQuery(), detector.features).attribute(X, 1))
        part = EquivariantPart(LayerDiffGradCam(detector, detector.features, class_dim=2), shifts=1)
        of_query = EquivariantPart(LayerDiffGradCam(OfQuery(), detector.features), shifts=1)
        for contrast in (None, top_rivals(2)):
            torch.testing.assert_close(
                part.attribute(X, (2, 1), contrast=contrast), of_query.attribute(X, 1, contrast=contrast)
            )

    @pytest.mark.parametrize("shape", [(-1, 1, CLASSES), (-1, 1, 1, CLASSES), (-1, 1, CLASSES, 1)])
    @pytest.mark.parametrize("target", [3, [3, 3], predicted])
    def test_a_class_is_enough_for_one_query(self, shape, target):
        net = conv_net(classes=CLASSES)
        cam = LayerDiffGradCam(lambda x: net(x).reshape(shape), net.features, class_dim=shape.index(CLASSES))
        torch.testing.assert_close(cam.attribute(X, target), LayerDiffGradCam(net, net.features).attribute(X, target))

    def test_one_logit_per_query(self, detector):
        cam = LayerDiffGradCam(lambda x: detector(x)[..., 1:2], detector.features, class_dim=-1)
        expected = LayerGradCam(detector, detector.features).attribute(X, (2, 1)).detach()
        torch.testing.assert_close(cam.attribute(X, (2, 0)), expected)
        torch.testing.assert_close(cam.attribute(X, (2,)), expected)


class TestScores:
    @pytest.mark.parametrize("contrast", [None, 4, [0, 3], top_rivals(2), [[0], [3, 4]]])
    @pytest.mark.parametrize("class_dim", [2, -1])
    def test_each_query_by_itself(self, contrast, class_dim):
        z = torch.randn(2, QUERIES, CLASSES, generator=torch.Generator().manual_seed(0))
        scores = ContrastScore(lambda x: x, contrast, class_dim=class_dim)(z)
        assert scores.shape == z.shape
        for q in range(QUERIES):
            torch.testing.assert_close(scores[:, q], ContrastScore(lambda x: x, contrast)(z[:, q]))

    def test_probabilities_along_it(self):
        z = torch.randn(2, QUERIES, CLASSES, generator=torch.Generator().manual_seed(0))
        with pytest.warns(UserWarning, match="`forward_func` returned .* softmax"):
            ContrastScore(lambda x: x, class_dim=2)(z.softmax(2))
        ContrastScore(lambda x: x, class_dim=2)(2 * z.softmax(1))
        with pytest.warns(UserWarning, match="`forward_func` returned .* sigmoid"):
            ContrastScore(lambda x: x, class_dim=-1)(torch.rand(2, 3, 10, generator=torch.Generator().manual_seed(0)))


class TestErrors:
    @pytest.mark.parametrize(
        ("class_dim", "error"), [(0, ValueError), (1.0, TypeError), ("2", TypeError), (True, TypeError)]
    )
    def test_of_the_constructor(self, detector, class_dim, error):
        with pytest.raises(error, match="`class_dim` must"):
            LayerDiffGradCam(detector, detector.features, class_dim=class_dim)
        with pytest.raises(error, match="`class_dim` must"):
            ContrastScore(detector, class_dim=class_dim)

    @pytest.mark.parametrize("class_dim", [3, -3, 9])
    def test_no_such_dimension(self, detector, class_dim):
        with pytest.raises(IndexError, match=f"`class_dim` must .*, got {class_dim}"):
            LayerDiffGradCam(detector, detector.features, class_dim=class_dim).attribute(X, (2, 1))
        with pytest.raises(IndexError, match=f"`class_dim` must .*, got {class_dim}"):
            ContrastScore(detector, class_dim=class_dim)(X)

    @pytest.mark.parametrize(
        ("target", "error"),
        [
            (1, ValueError),
            (None, ValueError),
            (predicted, ValueError),
            ((1, 2, 0), ValueError),
            ((QUERIES, 1), IndexError),
            ((1, CLASSES), IndexError),
            ((-1, 1), IndexError),
        ],
    )
    def test_of_targets(self, detector, target, error):
        with pytest.raises(error, match="`target` must"):
            LayerDiffGradCam(detector, detector.features, class_dim=2).attribute(X, target)

    def test_ranges_are_those_of_the_output(self, detector):
        cam = LayerDiffGradCam(detector, detector.features, class_dim=2)
        with pytest.raises(IndexError, match=f"position from 0 to {QUERIES - 1}, got 9"):
            cam.attribute(X, (9, 1))
        with pytest.raises(IndexError, match=f"class from 0 to {CLASSES - 1}, got 9"):
            cam.attribute(X, (1, 9))

    def test_an_output_without_classes(self):
        net = conv_net(classes=1)
        with pytest.raises(ValueError, match="`forward_func` must return shape"):
            LayerDiffGradCam(lambda x: net(x)[:, :, None][..., :0], net.features, class_dim=2).attribute(X, (0, 0))


class TestTheWarning:
    def test_a_detector_without_the_argument(self, detector):
        with pytest.warns(UserWarning, match="`forward_func` returned .*`class_dim=-1`"):
            LayerDiffGradCam(detector, detector.features).attribute(X, (2, 1))

    @pytest.mark.parametrize("class_dim", [1, 2, -1, -2])
    def test_is_silenced_by_the_argument(self, detector, class_dim):
        LayerDiffGradCam(detector, detector.features, class_dim=class_dim).attribute(X, (2, 1))

    def test_a_tagger_of_tokens(self):
        """Rivals would be other tokens, not other classes."""
        layer, head, ids = nn.Embedding(9, 4), nn.Linear(4, 5), torch.arange(14).view(2, 7) % 9

        def model(tokens):
            embedded = layer(tokens)
            return head((embedded + embedded.mean(dim=1, keepdim=True)).tanh())

        with pytest.warns(UserWarning, match="`class_dim=-1`"):
            LayerDiffGradCam(model, layer, layout="swin").attribute(ids, (3, 1))
        expected = LayerDiffGradCam(lambda x: model(x).movedim(-1, 1), layer, layout="swin").attribute(ids, (1, 3))
        cam = LayerDiffGradCam(model, layer, layout="swin", class_dim=-1)
        torch.testing.assert_close(cam.attribute(ids, (3, 1)), expected)

    @pytest.mark.parametrize(
        ("output", "inputs"),
        [
            ((2, 100, 92), (2, 3, 64, 64)),  # a detector
            ((2, 100, 2), (2, 3, 64, 64)),  # of two classes
            ((2, 12, 50257), (2, 3, 64, 64)),  # a captioner
            ((2, 8, 174), (2, 3, 8, 32, 32)),  # a video with a class per frame
            ((2, 8, 174), (2, 8, 3, 32, 32)),
            ((2, 7, 5), (2, 7)),  # a tagger of token ids
            ((2, 7, 5), (2, 7, 16)),  # and of embeddings
            ((2, 50, 5), (2, 80, 50)),  # speech, (N, features, frames), with a class per frame
            ((2, 64, 64, 21), (2, 3, 64, 64)),  # a segmentation with classes last
            ((2, 32, 48, 21), (2, 3, 64, 96)),  # at a smaller size
            ((2, 8, 16, 16, 4), (2, 1, 8, 16, 16)),  # of a volume
        ],
    )
    def test_classes_that_come_last(self, output, inputs):
        assert "class_dim" in doubt_about_classes(torch.zeros(output), torch.zeros(inputs))
        for class_dim in (1, -1):
            assert doubt_about_classes(torch.zeros(output), torch.zeros(inputs), class_dim) is None

    @pytest.mark.parametrize(
        ("output", "inputs"),
        [
            ((2,), (2, 3, 8, 8)),
            ((2, 10), (2, 3, 8, 8)),
            ((2, 10, 1), (2, 3, 8, 8)),
            ((2, 10, 1, 1), (2, 3, 8, 8)),
            ((2, 21, 8, 8), (2, 3, 8, 8)),
            ((2, 21, 4, 6), (2, 3, 8, 12)),
            ((2, 8, 8, 8), (2, 3, 8, 8)),  # both fit
            ((2, 32, 32, 32), (2, 3, 64, 64)),
            ((2, 21, 7, 10), (2, 3, 224, 300)),  # neither does
            ((2, 3, 10, 6), (2, 3, 12, 12)),
            ((2, 4, 8, 16, 16), (2, 1, 8, 16, 16)),
            ((2, 5, 16), (2, 16)),
            ((2, 5, 16), (2, 3, 16)),
            ((2, 16, 16), (2, 3, 16)),
            ((2, 5, 40), (2, 3, 160)),  # strided
            ((2, 7), (2, 7)),
            ((2, 7, 7), (2, 7)),
            ((2, 10), (2, 7, 16)),
        ],
    )
    def test_classes_that_do_not(self, output, inputs):
        assert doubt_about_classes(torch.zeros(output), torch.zeros(inputs)) is None
