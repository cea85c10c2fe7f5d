"""What a target may name in the model's output, in which forms, and outputs that are no logits."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict, namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from captum_diffcam import ContrastScore, LayerDiffGradCam


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (6, IndexError),
        (-1, IndexError),
        ([0, 1, 7], IndexError),
        (torch.tensor([0, -2, 1]), IndexError),
        ([0, 1], ValueError),
        (torch.tensor([0, 1]), ValueError),
        (torch.zeros(3, 2, dtype=torch.int64), ValueError),
        (None, ValueError),
        ((1, 2), ValueError),
        ((), ValueError),
        (1.0, TypeError),
        (True, TypeError),
        ("1", TypeError),
        (torch.tensor([0.0, 1, 2]), TypeError),
        ([0, [1], 2], TypeError),
        (lambda z: z.argmax(1).tolist(), TypeError),
        (lambda z: z.argmax(1).float(), TypeError),
        (lambda z: z.argmax(1) > 0, TypeError),
        (lambda z: z.argmax(1)[:2], ValueError),
        (lambda z: z.argmax(1) + 6, IndexError),
        (lambda z: -z.argmax(1) - 1, IndexError),
        (np.array([0, 1]), ValueError),
        (np.zeros((3, 2), dtype=int), ValueError),
        (np.array([0.0, 1, 2]), TypeError),
        (np.array([True, False, True]), TypeError),
        (np.array(True), TypeError),
        (np.array([0, 1, 6]), IndexError),
    ],
)
def test_errors_name_the_argument(net, x, target, error):
    with pytest.raises(error, match="`target` must"):
        LayerDiffGradCam(net, net.features).attribute(x, target=target)


@pytest.mark.parametrize("target", [6, [0, 1, 6], (6,), lambda z: torch.full((3,), 6)])
def test_classes_out_of_range_are_told_the_range(net, x, target):
    with pytest.raises(IndexError, match="from 0 to 5, got 6"):
        LayerDiffGradCam(net, net.features).attribute(x, target=target)


@pytest.mark.parametrize("target", ["tabby", ["tabby", "lynx", "tabby"], np.array(["tabby"] * 3), np.str_("tabby")])
def test_names_of_classes_are_told_from_indices(net, x, target):
    with pytest.raises(TypeError, match=r"`target`.*'tabby'.*index"):
        LayerDiffGradCam(net, net.features).attribute(x, target=target)


def test_no_target_is_answered_with_the_ways_to_name_one(net, x):
    with pytest.raises(ValueError, match=r"`target`.*`predicted`.*`explain`"):
        LayerDiffGradCam(net, net.features).attribute(x)


@pytest.mark.parametrize("target", [(1, 9, 0), (1, 0, -1), [(1, 0, 0), (2, 0, 0), (1, 7, 0)]])
def test_positions_out_of_range(net, x, target):
    with pytest.raises(IndexError, match="`target` must have a position from 0 to 6, got"):
        LayerDiffGradCam(net.features, net.features[0]).attribute(x, target=target)


@pytest.mark.parametrize("target", [1, (1,), (1, 2), (1, 2, 3, 4), lambda z: z.argmax(1)[:, 0, 0]])
def test_a_segmentation_needs_a_position(net, x, target):
    with pytest.raises(ValueError, match=r"`target` must .*position"):
        LayerDiffGradCam(net.features, net.features[0]).attribute(x, target=target)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")
@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")
@pytest.mark.parametrize(
    ("output", "error"),
    [
        (lambda z: z.argmax(1), TypeError),
        (lambda z: z.to(torch.complex64), TypeError),
        (lambda z: z.sum(), ValueError),
        (lambda z: z[:, :0], ValueError),
        (lambda z: torch.quantize_per_tensor(z.detach(), 0.1, 0, torch.qint8), TypeError),
        (lambda z: z.detach().numpy(), TypeError),
        (lambda z: z.to_sparse(), TypeError),
        (lambda z: torch.nested.nested_tensor(list(z)), TypeError),
    ],
)
def test_outputs_that_are_no_logits(net, x, output, error):
    with pytest.raises(error, match="`forward_func` must return"):
        LayerDiffGradCam(lambda x: output(net(x)), net.features).attribute(x, target=1)


@pytest.mark.parametrize(
    "cut",
    [
        lambda z: z.detach(),
        lambda z: z.data,
        lambda z: torch.from_numpy(z.detach().numpy()),
        lambda z: nn.functional.one_hot(z.argmax(1), 6).float() * 3,
    ],
    ids=["detached", "data", "through NumPy", "through integers"],
)
def test_outputs_without_a_graph(net, x, cut):
    cam = LayerDiffGradCam(lambda x: cut(net(x)), net.features)
    for explain in (cam.attribute, cam.explain, cam.attribute_rivals):
        with pytest.raises(ValueError, match=r"`forward_func` must return .*graph"):
            explain(x, target=1)
        assert not explain(x, target=1, grad_kwargs={"materialize_grads": True})[0].any()


def test_outputs_of_inference_mode(net, x):
    def forward(x):
        with torch.inference_mode():
            return net(x)

    with pytest.raises(ValueError, match=r"`forward_func` must return .*graph"):
        LayerDiffGradCam(forward, net.features).attribute(x, target=1)


def test_outputs_within_vmap(net, x):
    with pytest.raises(TypeError, match=r"`forward_func` must return .*vmap"):
        torch.vmap(lambda image: ContrastScore(net)(image[None]))(x)
    gradient = torch.func.grad(lambda image: ContrastScore(net)(image)[0, 1])(x)
    assert gradient[0].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite(net, x, value):
    with torch.no_grad():
        net.head[-1].bias[3] = value
    with pytest.raises(ValueError, match=f"`forward_func` must .*, got {value}"):
        LayerDiffGradCam(net, net.features).attribute(x, target=1)


@dataclasses.dataclass
class Output(OrderedDict):
    """As in transformers: a mapping whose users write attributes."""

    loss: Tensor
    logits: Tensor
    hidden: tuple = ()

    def __post_init__(self) -> None:
        self.update(vars(self))


@dataclasses.dataclass(slots=True)
class Slots:
    """Without a ``__dict__``."""

    hidden: Tensor
    class_logits: Tensor


@dataclasses.dataclass
class Hidden:
    last_hidden_state: Tensor
    pooler_output: Tensor


class Bag(dict):
    pass


Z, IDS = torch.zeros(3, 6), torch.zeros(3, dtype=torch.int64)
BOXES = {"boxes": torch.zeros(5, 4), "labels": torch.zeros(5, dtype=torch.int64), "scores": torch.zeros(5)}


class TestOutputsOfSeveralParts:
    @pytest.mark.parametrize(
        ("output", "hint"),
        [
            ([Z, Z], "[0]"),
            ((Z,), "[0]"),
            ([IDS, Z], "[1]"),
            ({"out": Z, "aux": Z}, "['out']"),
            ({"loss": Z.sum(), "logits": Z}, "['logits']"),
            ({"aux": Z, "out": Z}, "['out']"),
            ({"boxes": Z, "class_logits": Z}, "['class_logits']"),
            (UserDict({"aux": Z, "logits": Z}), "['logits']"),
            (Bag(aux=Z, logits=Z), "['logits']"),
            (Output(Z.sum(), Z), ".logits"),
            (Slots(Z - 1, Z), ".class_logits"),
            (SimpleNamespace(features=Z - 1, logits=Z), ".logits"),
            (namedtuple("InceptionOutputs", ["logits", "aux_logits"])(Z, Z), ".logits"),
        ],
    )
    def test_the_hint_fits(self, net, x, output, hint):
        with pytest.raises(TypeError, match=f"`forward_func` must .*got {type(output).__name__}") as error:
            LayerDiffGradCam(lambda x: net(x) is None or output, net.features).attribute(x, target=1)
        assert f"lambda x: model(x){hint}" in str(error.value)
        assert eval(f"output{hint}") is Z

    @pytest.mark.parametrize(
        "output",
        [
            {"out": 1},
            (1, 2),
            [],
            {},
            None,
            "text",
            1.0,
            {0: Z},
            {"features": Z, "embedding": Z},
            Hidden(Z, Z),
            Z.numpy(),
            BOXES,
            [BOXES, BOXES],
            ({}, [BOXES]),
            {"scores": Z, "masks": Z},
        ],
    )
    def test_no_hint_if_nothing_is_called_logits(self, output):
        with pytest.raises(TypeError, match="`forward_func` must return") as error:
            ContrastScore(lambda x: output)(Z)
        assert "model(x)" not in str(error.value)
        assert "Pass a function that returns" in str(error.value) or "pass a function that returns" in str(error.value)

    @pytest.mark.parametrize("output", [BOXES, [BOXES], ({}, [BOXES]), SimpleNamespace(**BOXES)])
    def test_the_output_of_a_detector_is_told_how_to_explain_one(self, output):
        with pytest.raises(TypeError, match=r"`forward_func` must return.*detectors.*`class_dim=2`"):
            ContrastScore(lambda x: output)(Z)


class TestTargetsOfToolkits:
    @pytest.mark.parametrize(
        "target",
        [
            np.array([2, 0, 5]),
            np.array([2, 0, 5], dtype=np.uint8),
            np.broadcast_to(np.array([2, 0, 5]), (3,)),
            np.array([5, 0, 2])[::-1],
            [np.int64(2), np.int64(0), np.int64(5)],
            list(np.array([2, 0, 5])),
        ],
    )
    def test_one_for_each_example(self, net, x, target):
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(x, target), cam.attribute(x, [2, 0, 5]))

    @pytest.mark.parametrize("target", [np.int64(2), np.array(2), np.array([2]), np.uint8(2)], ids=repr)
    def test_one_for_all(self, net, x, target):
        cam = LayerDiffGradCam(net, net.features)
        torch.testing.assert_close(cam.attribute(x, target), cam.attribute(x, 2))

    def test_positions(self, net, x):
        model = nn.Sequential(net.features, nn.Conv2d(5, 4, 7, padding=3))
        cam = LayerDiffGradCam(model, net.features)
        expected = cam.attribute(x, target=[(1, 2, 3), (0, 1, 1), (2, 0, 0)])
        target = [tuple(one) for one in np.array([(1, 2, 3), (0, 1, 1), (2, 0, 0)])]
        torch.testing.assert_close(cam.attribute(x, target=target), expected)


def test_a_callable_sees_logits_without_a_graph(net, x):
    seen = []
    LayerDiffGradCam(net, net.features).attribute(x, lambda logits: seen.append(logits) or logits.argmax(dim=1))
    (logits,) = seen
    assert not logits.requires_grad
    torch.testing.assert_close(logits, net(x).detach())
