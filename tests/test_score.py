"""The score of every class: against a literal computation, and where floating point loses digits."""

from __future__ import annotations

import pickle

import pytest
import torch
from nets import conv_net, images
from torch.utils._python_dispatch import TorchDispatchMode

from captum_diffcam import ContrastScore, top_rivals

REDUCTIONS = ["logsumexp", "mean", "max"]


def above_zero(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (logits > 0).scatter(1, target[:, None], False)


class TestContrastScore:
    """Column c is the score of class c; a column in the set is scored against the set without it."""

    LOGITS = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))

    @pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
    @pytest.mark.parametrize("k", [1, 3, 6])
    def test_top_rivals_of_every_column(self, k, reduction):
        scores = ContrastScore(lambda x: x, top_rivals(k), reduction)(self.LOGITS)
        for row, z in zip(scores, self.LOGITS.double(), strict=True):
            for c in range(7):
                rivals = torch.cat([z[:c], z[c + 1 :]]).topk(k).values
                reduced = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
                assert row[c].item() == pytest.approx((z[c] - reduced).item(), abs=1e-5)

    @pytest.mark.parametrize(
        "contrast", [top_rivals(5), lambda logits, target: torch.zeros_like(logits, dtype=torch.bool)]
    )
    @pytest.mark.parametrize("shape", [(3, 1), (0, 4)])
    def test_callables_with_nothing_to_choose_from(self, contrast, shape):
        logits = torch.randn(shape)
        torch.testing.assert_close(ContrastScore(lambda x: x, contrast)(logits), logits)

    @pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
    def test_a_callable_of_ones_own_is_called_for_every_class(self, reduction):
        own = ContrastScore(lambda x: x, lambda logits, target: top_rivals(3)(logits, target), reduction)
        torch.testing.assert_close(own(self.LOGITS), ContrastScore(lambda x: x, top_rivals(3), reduction)(self.LOGITS))

    @pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
    def test_a_callable_whose_sets_differ_in_size(self, reduction):
        """The classes of positive logits, without the class itself."""
        score = ContrastScore(lambda x: x, above_zero, reduction)
        scores = score(self.LOGITS)
        sizes = (self.LOGITS > 0).sum(dim=1)
        assert sizes.min() < sizes.max()
        for row, z in zip(scores, self.LOGITS.double(), strict=True):
            for c in range(7):
                rivals = z[[j for j in range(7) if j != c and z[j] > 0]]
                reduced = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
                assert row[c].item() == pytest.approx((z[c] - reduced).item(), abs=1e-5)

    def test_sets_per_example(self):
        scores = ContrastScore(lambda x: x, [[0], [1], [2], [3, 4]], "mean")(self.LOGITS)
        for n, (row, z) in enumerate(zip(scores, self.LOGITS, strict=True)):
            reduced = z[n] if n < 3 else (z[3] + z[4]) / 2
            torch.testing.assert_close(row[6], z[6] - reduced)

    @pytest.mark.parametrize("reduction", ["logsumexp", "mean", "max"])
    @pytest.mark.parametrize("classes", [[2, 5], [0, 1, 6]])
    def test_a_class_of_the_set_is_scored_against_the_others_of_it(self, classes, reduction):
        scores = ContrastScore(lambda x: x, classes, reduction)(self.LOGITS)
        for row, z in zip(scores, self.LOGITS.double(), strict=True):
            for c in range(7):
                rivals = z[[j for j in classes if j != c]]
                reduced = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
                assert row[c].item() == pytest.approx((z[c] - reduced).item(), abs=1e-5)

    def test_positions(self):
        """Each position of a segmentation is scored by itself."""
        logits = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
        for contrast in (None, [1, 2], [[1], [2, 3]], top_rivals(2)):
            scores = ContrastScore(lambda x: x, contrast)(logits)
            assert scores.shape == logits.shape
            single = contrast if not isinstance(contrast, list) or contrast == [1, 2] else contrast[1]
            alone = ContrastScore(lambda x: x, single)(logits[1:, :, 2, 3])
            torch.testing.assert_close(scores[1:, :, 2, 3], alone)

    @pytest.mark.parametrize("shape", [(3,), (3, 1)])
    def test_a_single_logit_is_its_own_score(self, shape):
        logits = torch.tensor([1.0, -2.0, 3.0]).reshape(shape)
        torch.testing.assert_close(ContrastScore(lambda x: x)(logits), logits)

    def test_repeated_batches_are_refused_for_sets_per_example(self):
        """IntegratedGradients repeats a batch as a whole, infidelity example by example: no order can be assumed."""
        score = ContrastScore(lambda x: x, [[0], [1], [2], [3]])
        with pytest.raises(ValueError, match=r"`contrast` must have one set .* got 4 sets for 8 examples"):
            score(self.LOGITS.repeat(2, 1))

    def test_arguments_pass_through(self):
        score = ContrastScore(lambda x, factor, *, offset: factor * x + offset)
        torch.testing.assert_close(score(self.LOGITS, 2.0, offset=1.0), ContrastScore(lambda x: x)(2 * self.LOGITS))

    def test_it_is_a_module_around_the_model(self):
        net = conv_net()
        score = ContrastScore(net)
        assert [id(p) for p in score.parameters()] == [id(p) for p in net.parameters()]
        assert not score.training
        restored = pickle.loads(pickle.dumps(ContrastScore(net.head, top_rivals(2))))
        a = net.features(images())
        torch.testing.assert_close(restored(a), ContrastScore(net.head, top_rivals(2))(a))

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="`forward_func` must"):
            ContrastScore(3)
        with pytest.raises(ValueError, match="`reduction` must be 'logsumexp', 'mean', 'max', got 'median'"):
            ContrastScore(lambda x: x, reduction="median")
        with pytest.raises(IndexError, match=r"`contrast` must .* 0 to 6, got 7"):
            ContrastScore(lambda x: x, [7])(self.LOGITS)
        with pytest.raises(ValueError, match=r"`forward_func` must .* got nan"):
            ContrastScore(lambda x: x / 0)(torch.zeros(1, 3))
        with pytest.raises(TypeError, match=r"`forward_func` must .* got dict"):
            ContrastScore(lambda x: {"out": x})(self.LOGITS)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scores_are_exact_where_one_class_holds_all_probability(reduction):
    logits = torch.tensor([[5000.0, 1.25, -2.5, 3.0], [-7.0, -4000.0, 1e-3, -4000.5]])
    scores = ContrastScore(lambda x: x, reduction=reduction)(logits)
    exact = ContrastScore(lambda x: x, reduction=reduction)(logits.double())
    torch.testing.assert_close(scores.double(), exact, rtol=2e-7, atol=0)
    for row, z in zip(exact, logits.double(), strict=True):
        for c in range(4):
            rest = torch.cat([z[:c], z[c + 1 :]])
            expected = {"logsumexp": rest.logsumexp(0), "mean": rest.mean(), "max": rest.max()}[reduction]
            assert row[c].item() == pytest.approx((z[c] - expected).item(), rel=1e-12)


def test_weights_of_the_rest_survive_a_dominant_class():
    """The dominant class's rivals are told apart although each is 5000 below it."""
    logits = torch.tensor([[5000.0, 1.0, 2.0, 3.0]], requires_grad=True)
    ContrastScore(lambda x: x)(logits)[0, 0].backward()
    expected = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).softmax(0)
    torch.testing.assert_close(-logits.grad[0, 1:].double(), expected, rtol=1e-6, atol=0)


def test_ties_are_told_apart_by_the_last_bit():
    logits = torch.tensor([[1000.0, 1.0, 1.0 + 2**-23, 0.0]], requires_grad=True)
    ContrastScore(lambda x: x, reduction="max")(logits)[0, 0].backward()
    assert logits.grad.tolist() == [[1.0, 0.0, -1.0, 0.0]]


def test_ties_share_the_gradient_of_every_column():
    logits = torch.tensor([[2.0, 2.0, 2.0, 1.0]])
    jacobian = torch.autograd.functional.jacobian(lambda z: ContrastScore(lambda x: x, reduction="max")(z)[0], logits)
    third, half = -1 / 3, -1 / 2
    expected = [[1, half, half, 0], [half, 1, half, 0], [half, half, 1, 0], [third, third, third, 1]]
    torch.testing.assert_close(jacobian.squeeze(1), torch.tensor(expected))


@pytest.mark.parametrize("classes", [1000, 21_000])
def test_the_mean_of_many_is_exact_beside_a_dominant_class(classes):
    logits = torch.randn(1, classes, generator=torch.Generator().manual_seed(0))
    logits[0, 7] = 5000.0
    scores = ContrastScore(lambda x: x, reduction="mean")(logits)
    exact = ContrastScore(lambda x: x, reduction="mean")(logits.double())
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=1e-5)
    z = logits[0].double()
    assert exact[0, 3].item() == pytest.approx((z[3] - (z.sum() - z[3]) / (classes - 1)).item(), rel=1e-12)


def every_other(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(logits, dtype=torch.bool).scatter(1, target[:, None], False)


@pytest.mark.parametrize("contrast", [None, every_other])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_scores_keep_their_digits_far_from_zero(reduction, contrast):
    """A term of 100,000 that all logits have in common leaves the digits that float32 has there, and loses no more."""
    logits = 1e5 + 8 * torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    scores = ContrastScore(lambda x: x, contrast, reduction)(logits)
    for row, z in zip(scores, logits.double(), strict=True):
        for c in (3, int(z.argmax())):
            rest = torch.cat([z[:c], z[c + 1 :]])
            expected = {"logsumexp": rest.logsumexp(0), "mean": rest.mean(), "max": rest.max()}[reduction]
            assert row[c].item() == pytest.approx((z[c] - expected).item(), abs=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_top_rivals_of_21000_classes(reduction):
    logits = torch.randn(4, 21_000, generator=torch.Generator().manual_seed(0))
    scores = ContrastScore(lambda x: x, top_rivals(5), reduction)(logits)
    z = logits[2].double()
    for c in (*z.topk(7).indices.tolist(), 11):
        rivals = torch.cat([z[:c], z[c + 1 :]]).topk(5).values
        expected = {"logsumexp": rivals.logsumexp(0), "mean": rivals.mean(), "max": rivals.max()}[reduction]
        assert scores[2, c].item() == pytest.approx((z[c] - expected).item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_21000_classes_need_no_square_tensor(reduction):
    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                self.elements = max(self.elements, out.numel())
            return out

    logits = torch.randn(2, 21_000, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with Largest() as largest:
        scores = ContrastScore(lambda x: x, reduction=reduction)(logits)
        scores[:, 5].sum().backward()
    assert largest.elements <= logits.numel()
    z = logits.detach().double()
    for c in (5, int(z[0].argmax())):
        rest = torch.cat([z[0, :c], z[0, c + 1 :]])
        expected = {"logsumexp": rest.logsumexp(0), "mean": rest.mean(), "max": rest.max()}[reduction]
        assert scores[0, c].item() == pytest.approx((z[0, c] - expected).item(), rel=1e-5)
