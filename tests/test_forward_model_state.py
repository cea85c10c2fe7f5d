"""What a map leaves in the caller's model: nothing, in train mode too."""

from __future__ import annotations

import copy
import threading
import warnings
from collections import deque
from types import SimpleNamespace

import pytest
import torch
from nets import conv_net, images
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, prune
from torch.optim.swa_utils import AveragedModel

from captum_diffcam import LayerDiffGradCam

pytestmark = pytest.mark.filterwarnings("ignore:.*in train mode", "ignore:.*runs more than once")


def net(first: nn.Module) -> nn.Sequential:
    return nn.Sequential(first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def explain(model, layer, **kwargs):
    return LayerDiffGradCam(model, layer).explain(images(2, size=12), 3, **kwargs)


class Stores(nn.Module):
    """A model that stores its activations on itself, by one of several ways."""

    def __init__(self, store) -> None:
        super().__init__()
        self.conv, self.head, self.store = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), store
        self.seen, self.sizes, self.length = None, {}, 0
        self.queue: deque = deque(maxlen=2)
        self.stack: list = [torch.zeros(1)]
        self.cache = SimpleNamespace(value=torch.zeros(2))
        self.nested = {"deep": [{}]}

    def forward(self, x):
        activations = self.conv(x).relu()
        self.store(self, activations)
        return self.head(activations.mean((2, 3)))


def attribute(model, activations):
    model.seen = activations


def attribute_that_is_new(model, activations):
    model.brand_new = activations


def pair(model, activations):
    model.seen = (activations, activations.shape)


def dictionary(model, activations):
    model.sizes["activations"] = activations


def nested(model, activations):
    model.nested["deep"][0]["activations"] = activations


def listed(model, activations):
    model.stack.append(activations)


def queued(model, activations):
    model.queue.append(activations)


def namespace(model, activations):
    model.cache.value = activations


def buffer(model, activations):
    model.register_buffer("table", activations.mean(), persistent=False)


def in_place(model, activations):
    model.stack[0].add_(activations.detach().mean())


WAYS = [
    *(attribute, attribute_that_is_new, pair, dictionary, nested, listed, queued, namespace),
    *(buffer, in_place),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("train", [False, True])
def test_tensors_that_a_model_stores_on_itself(way, train):
    """They are as before the map, so that copies, averages and training go on."""
    model = Stores(way).train(train)
    with torch.no_grad():
        model(images(2, size=12))
    before = {name: value for name, value in vars(model).items() if name != "store"}
    numbers = copy.deepcopy((model.stack, model.queue, model.sizes, model.nested, model.cache.value, model.seen))
    explain(model, model.conv)
    after = {name: value for name, value in vars(model).items() if name != "store"}
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    torch.testing.assert_close(
        (list(model.stack), list(model.queue), model.sizes, model.nested, model.cache.value),
        (list(numbers[0]), list(numbers[1]), numbers[2], numbers[3], numbers[4]),
    )
    copy.deepcopy(model)
    AveragedModel(model)
    model(images(2, size=12)).sum().backward()


def test_numbers_that_belong_to_a_stored_table():
    """The length up to which a table is made goes back with the table; a counter without any tensor goes on."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head, self.length = nn.Conv2d(3, 8, 3), nn.Linear(8, 4), 0
            self.register_buffer("table", torch.zeros(0), persistent=False)

        def forward(self, x):
            a = self.conv(x).relu().flatten(2)
            if a.shape[2] > self.length:
                self.length = a.shape[2]
                self.register_buffer("table", torch.linspace(0, 1, self.length), persistent=False)
            return self.head((a * self.table[: a.shape[2]]).mean(2))

    model = Table().eval()
    model(torch.rand(1, 3, 6, 6))
    assert model.length == 16
    explain(model, model.conv)
    assert (model.length, len(model.table)) == (16, 16)
    model(torch.rand(1, 3, 12, 12))

    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.calls = net(nn.Conv2d(3, 8, 3)), 0

        def forward(self, x):
            self.calls += 1
            return self.net(x)

    model = Counts()
    explain(model, model.net[1])
    assert model.calls == 1


def weight_norm_of_the_older_kind(conv):
    return nn.utils.weight_norm(conv)


def spectral_norm_of_the_older_kind(conv):
    return nn.utils.spectral_norm(conv)


def pruned(conv):
    return prune.l1_unstructured(conv, "weight", 0.5)


def batch_norm(conv):
    return nn.Sequential(conv, nn.BatchNorm2d(8))


def quantization_aware(conv):
    aware = net(conv).train()
    aware.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    return torch.ao.quantization.prepare_qat(aware)[0]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Please use quant_min:UserWarning")
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        parametrizations.spectral_norm,
        parametrizations.weight_norm,
        weight_norm_of_the_older_kind,
        spectral_norm_of_the_older_kind,
        pruned,
        batch_norm,
        quantization_aware,
    ],
)
def test_buffers_and_computed_weights(wrap, train):
    model = net(wrap(nn.Conv2d(3, 8, 3))).train(train)
    with torch.no_grad():
        model(images(2, size=12))
        model(images(2, size=12))
    before = copy.deepcopy(model.state_dict())
    stored = {(i, name): value for i, m in enumerate(model.modules()) for name, value in vars(m).items()}
    identities = [id(buffer) for buffer in model.buffers()]
    explain(model, model[1])
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [id(buffer) for buffer in model.buffers()] == identities
    for i, module in enumerate(model.modules()):
        assert all(value is stored[i, name] for name, value in vars(module).items())
    copy.deepcopy(model)
    model(images(2, size=12)).sum().backward()


def test_a_lazy_module_keeps_what_its_first_run_makes():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(4))
    explain(model, model[1])
    assert (model[0].in_channels, model[4].in_features) == (3, 8)
    assert type(model[4]) is nn.Linear


def test_runs_that_overlap_share_what_they_replace():
    """The first one in replaces the buffers, the last one out puts them back."""
    inside, go_on = [threading.Event() for _ in range(2)], [threading.Event() for _ in range(2)]

    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.runs = net(batch_norm(nn.Conv2d(3, 8, 3))).train(), iter(range(2))

        def forward(self, x):
            run = next(self.runs)
            inside[run].set()
            assert go_on[run].wait(60)
            return self.net(x)

    model = Waits()
    norm = model.net[0][1]
    mean, numbers = norm.running_mean, norm.running_mean.clone()
    threads = [threading.Thread(target=explain, args=(model, model.net[1])) for _ in range(2)]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    for i, thread in enumerate(threads):
        thread.start()
        assert inside[i].wait(60)
    for i, thread in enumerate(threads):
        go_on[i].set()
        thread.join()
    assert norm.running_mean is mean
    assert mean.equal(numbers)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.backends.mha.get_fastpath_enabled() is fast_path


def test_the_fast_path_stays_off_until_the_last_run_has_ended():
    inside, go_on, seen = threading.Event(), threading.Event(), []
    model = conv_net()

    def waits(x):
        inside.set()
        assert go_on.wait(60)
        seen.append(torch.backends.mha.get_fastpath_enabled())
        return model(x)

    before = torch.backends.mha.get_fastpath_enabled()
    thread = threading.Thread(target=lambda: LayerDiffGradCam(waits, model.features).attribute(images(), 1))
    thread.start()
    assert inside.wait(60)
    LayerDiffGradCam(model, model.features).attribute(images(), 1)
    go_on.set()
    thread.join()
    assert seen == [False]
    assert torch.backends.mha.get_fastpath_enabled() is before


@pytest.mark.parametrize("static_graph", [False, True])
def test_a_map_between_training_steps_of_ddp(tmp_path, static_graph):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = net(nn.Conv2d(3, 8, 3))
        expected = explain(copy.deepcopy(model).eval(), "1").maps
        ddp = DistributedDataParallel(model, static_graph=static_graph)
        for _ in range(3):
            ddp(images(2, size=12)).sum().backward()
            ddp.eval()
            torch.testing.assert_close(explain(ddp, model[1]).maps, expected)
            ddp.train()
    finally:
        torch.distributed.destroy_process_group()


class Encoder(nn.Module):
    """A padded transformer over ids or numbers."""

    def __init__(self, ids: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(9, 16) if ids else nn.Linear(5, 16)
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(block, 2), nn.Linear(16, 5)

    def forward(self, x):
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        padding[:, 6:] = True
        return self.head(self.encoder(self.embed(x), src_key_padding_mask=padding)[:, :6].mean(1))


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_padded_transformer(ids, frozen):
    model = Encoder(ids).eval()
    x = torch.randint(0, 9, (2, 9)) if ids else torch.rand(2, 9, 5)
    stored = {}
    with model.encoder.layers[0].register_forward_hook(lambda m, a, output: stored.update(a=output)):
        torch.backends.mha.set_fastpath_enabled(False)
        z = model(x)
        torch.backends.mha.set_fastpath_enabled(True)
    (g,) = torch.autograd.grad((z[:, 3] - z[:, [0, 1, 2, 4]].logsumexp(1)).sum(), stored["a"])
    expected = (g.mean(1, keepdim=True) * stored["a"]).sum(2)[:, None]
    model.requires_grad_(not frozen)
    maps = LayerDiffGradCam(model, "encoder.layers.0", layout="swin").attribute(x, 3)
    torch.testing.assert_close(maps, expected.detach())
    assert torch.backends.mha.get_fastpath_enabled()


def test_autocast_keeps_training_after_a_map_without_gradients():
    model = net(nn.Conv2d(3, 8, 3))
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            explain(model, model[1])
        model(images(2, size=12)).float().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("changes_input", [False, True])
def test_a_models_own_error_is_its_own_and_it_runs_once(changes_input):
    runs = []

    class Faulty(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net(nn.Conv2d(3, 8, 3))

        def forward(self, x):
            runs.append(1)
            if changes_input:
                x.mul_(2)
            return self.net(x) @ torch.ones(3, 3)

    model = Faulty()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        explain(model, model.net[1])
    assert len(runs) == 1


class DropPath(nn.Module):
    """Stochastic depth, which keeps its probability as timm does."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("make", "is_warned_of"),
    [
        (lambda: nn.BatchNorm2d(8), True),
        (lambda: nn.Dropout(0.1), True),
        (lambda: nn.Dropout(0.0), False),
        (lambda: DropPath(0.1), True),
        (lambda: DropPath(0.0), False),
        (lambda: nn.LPPool2d(2, 2), False),
        (lambda: nn.LayerNorm(10), False),
        (lambda: nn.Dropout(0.1).eval(), False),
    ],
)
def test_train_mode_is_warned_of_where_a_map_depends_on_it(make, is_warned_of):
    module = make()
    model = nn.Sequential(nn.Conv2d(3, 8, 3), module, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explain(model, model[0])
    named = [warning for warning in caught if "train mode" in str(warning.message)]
    assert len(named) == is_warned_of
    assert all(type(module).__name__ in str(warning.message) for warning in named)
