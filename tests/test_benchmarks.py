"""The command line of the benchmarks, run in this process on small inputs."""

import ast
import json
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from captum.attr import LayerGradCam
from PIL import Image
from scipy.stats import spearmanr
from torch import nn
from torchvision.transforms import functional as vision

import benchmarks
from benchmarks import compare, explaining, images
from benchmarks.__main__ import main, parse
from benchmarks.layers import choose_layer
from benchmarks.models import LITE0, blank_input, load_classifier
from captum_diffcam import ContrastScore, LayerDiffGradCam, LayerDiffGradCamPlusPlus

SMALL = "shufflenet_v2_x0_5"
CHELSEA, COFFEE = images.packaged_photographs()[:2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr(explaining, "ROUNDS", 1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, capsys):
    """Runs the command line; returns the exit code, compare.json where it was written, and what was printed."""

    def run(*argv):
        code = main([*map(str, argv), "--output", str(tmp_path / "out")])
        written = tmp_path / "out" / "compare.json"
        record = json.loads(written.read_text()) if written.exists() else None
        return code, record, capsys.readouterr()

    return run


@pytest.fixture
def small_model():
    torch.manual_seed(3)
    return torchvision.models.get_model(SMALL, num_classes=7).eval()


@pytest.fixture
def small_weights(small_model, tmp_path):
    torch.save(small_model.state_dict(), tmp_path / "small.pth")
    return tmp_path / "small.pth"


def one_line_error(code, printed):
    assert code == 2
    *before, line = printed.err.splitlines()
    assert line.startswith("error: ")
    # What may stand before are the progress bar, and warnings of images that were skipped.
    assert all(other.startswith("warning: ") or "photograph" in other or not other.strip() for other in before)
    return line


class Difference(nn.Module):
    """The target's logit minus the others', literally, as a model with one output."""

    def __init__(self, model, target, reduce):
        super().__init__()
        self.model, self.target, self.reduce = model, target, reduce

    def forward(self, inputs):
        logits = self.model(inputs)
        others = torch.cat([logits[:, : self.target], logits[:, self.target + 1 :]], dim=1)
        return logits[:, self.target : self.target + 1] - self.reduce(others)


REDUCTIONS = {
    "logsumexp, every other class": lambda z: z.exp().sum(1, keepdim=True).log(),
    "mean, every other class": lambda z: z.mean(1, keepdim=True),
    "max, every other class": lambda z: z.max(1, keepdim=True).values,
    "logsumexp, top 5 rivals": lambda z: z.sort(1).values[:, -5:].exp().sum(1, keepdim=True).log(),
}


@pytest.fixture
def photograph():
    """Chelsea as EfficientNet-Lite0 takes it, cropped step by step."""
    image = vision.center_crop(vision.resize(Image.open(CHELSEA).convert("RGB"), 256), 224)
    return (vision.to_tensor(image)[None] - 0.498) / 0.502


def test_numbers_against_a_literal_computation(run, photograph):
    code, record, printed = run("--images", CHELSEA)
    assert code == 0
    (numbers,) = record["photographs"]
    model = load_classifier(LITE0, None, torch.device("cpu")).model
    names = torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"]
    with torch.no_grad():
        logits = model(photograph)[0].double()
    p, order = logits.softmax(0), logits.argsort(descending=True).tolist()
    assert numbers["photograph"] == "chelsea.png"
    assert numbers["prediction"] == numbers["target"]
    assert (numbers["target"]["class"], numbers["target"]["name"]) == (order[0], "tiger cat")
    assert numbers["target"]["probability"] == pytest.approx(float(p[order[0]]), rel=1e-4)
    assert numbers["margin"] == pytest.approx(float(logits[order[0]] - logits[order[1]]), abs=1e-4)
    assert numbers["log_odds"] == pytest.approx(float((p[order[0]] / (1 - p[order[0]])).log()), abs=1e-4)
    assert [rival["name"] for rival in numbers["rivals"]] == [names[index] for index in order[1:6]]
    assert [rival["class"] for rival in numbers["rivals"]] == order[1:6]

    layer, target = model._avg_pooling, order[0]

    def grad_cam(module, index):
        return LayerGradCam(module, layer).attribute(photograph, index, attribute_to_layer_input=True).detach()

    plain = grad_cam(model, target).flatten().numpy()
    assert plain.size == 49
    for name, reduce in REDUCTIONS.items():
        found = numbers["methods"][f"DiffGradCAM {name}"]
        map_ = grad_cam(Difference(model, target, reduce), 0).flatten().numpy()
        assert found["agreement"]["LayerGradCam"]["pearson"] == pytest.approx(np.corrcoef(map_, plain)[0, 1], abs=1e-4)
        assert found["agreement"]["LayerGradCam"]["spearman"] == pytest.approx(spearmanr(map_, plain)[0], abs=2e-3)
        shares = map_.clip(0) / map_.clip(0).sum()
        assert found["entropy"] == pytest.approx(-sum(s * np.log(s) for s in shares if s), abs=1e-4)
    wrapped = grad_cam(ContrastScore(model), target).flatten().numpy()
    found = numbers["methods"]["DiffGradCAM logsumexp, every other class"]["agreement"]["LayerGradCam"]["pearson"]
    assert found == pytest.approx(np.corrcoef(wrapped, plain)[0, 1], abs=1e-4)
    for rival in numbers["rivals"]:
        map_ = grad_cam(model, target) - grad_cam(model, rival["class"])
        pearson = np.corrcoef(map_.flatten().numpy(), plain)[0, 1]
        assert rival["agreement"]["LayerGradCam"]["pearson"] == pytest.approx(pearson, abs=1e-4)
        assert rival["margin"] == pytest.approx(float(logits[target] - logits[rival["class"]]), abs=1e-4)

    def plus_plus(**contrast):
        cam = LayerDiffGradCamPlusPlus(model, layer)
        return cam.attribute(photograph, target, attribute_to_layer_input=True, **contrast).flatten().numpy()

    expected = np.corrcoef(plus_plus(), plus_plus(contrast=[]))[0, 1]
    found = numbers["methods"]["DiffGradCAM++ logsumexp, every other class"]["agreement"]["Grad-CAM++"]["pearson"]
    assert found == pytest.approx(expected, abs=1e-4)
    expected = np.corrcoef(plus_plus(contrast=[]), plain)[0, 1]
    found = numbers["methods"]["Grad-CAM++"]["agreement"]["LayerGradCam"]["pearson"]
    assert found == pytest.approx(expected, abs=1e-4)
    # The table's line is the median over photographs, of which there is one.
    assert record["methods"][1]["median"]["entropy"] == numbers["methods"][record["methods"][1]["name"]]["entropy"]
    assert "tiger cat" in printed.out
    assert "Loaded pretrained" not in printed.out
    assert max(map(len, printed.out.splitlines()[:-1])) <= 100


def test_what_is_written(run, tmp_path):
    code, record, printed = run("compare", "--model", SMALL, "--images", CHELSEA, COFFEE, "--seed", 5)
    assert code == 0
    assert record["complete"]
    assert record["skipped"] == []
    assert record["seed"] == 5
    assert record["command"].startswith(f"python -m benchmarks compare --model {SMALL} --images ")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["machine"]["cores"] >= 1
    assert len(record["methods"]) == 10
    assert "warning: shufflenet_v2_x0_5 has random weights" in printed.err
    # Paths belong to the command as it was given, and to nothing else.
    assert str(tmp_path) not in json.dumps({**record, "command": ""})
    for name in ("maps.png", "pairwise.png"):
        with Image.open(tmp_path / "out" / name) as figure:
            assert min(figure.size) > 300
            assert np.asarray(figure.convert("L")).std() > 10


def test_numbers_repeat_with_the_seed(run):
    def numbers(seed):
        _, record, _ = run("--model", SMALL, "--images", CHELSEA, "--seed", seed)
        for method in record["photographs"][0]["methods"].values():
            del method["milliseconds"], method["time_ratio"]
        return record["photographs"]

    first = numbers(1)
    assert numbers(1) == first
    assert numbers(2) != first


def test_weights_from_a_file(run, small_model, small_weights):
    code, record, _ = run("--model", SMALL, "--weights", small_weights, "--images", CHELSEA)
    assert code == 0
    assert record["weights"] == "small.pth"
    inputs = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()(Image.open(CHELSEA))[None]
    with torch.no_grad():
        p = small_model(inputs).softmax(1)[0]
    prediction = record["photographs"][0]["prediction"]
    assert prediction["class"] == int(p.argmax())
    assert prediction["name"] == f"class {int(p.argmax())}"
    assert prediction["probability"] == pytest.approx(float(p.max()), rel=1e-4)


@pytest.mark.parametrize("wrapper", [lambda s: {"state_dict": s}, lambda s: {f"module.{k}": v for k, v in s.items()}])
def test_weights_as_training_scripts_save_them(small_model, tmp_path, wrapper):
    torch.save(wrapper(small_model.state_dict()), tmp_path / "checkpoint.pth")
    loaded = load_classifier(SMALL, str(tmp_path / "checkpoint.pth"), torch.device("cpu"))
    assert all(torch.equal(a, b) for a, b in zip(loaded.model.parameters(), small_model.parameters(), strict=True))


def test_weights_by_name(run, monkeypatch):
    state = torchvision.models.get_model(SMALL).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_, **__: state)
    code, record, printed = run("--model", SMALL, "--weights", "DEFAULT", "--images", COFFEE)
    assert code == 0
    assert record["weights"] == "IMAGENET1K_V1"
    assert "random" not in printed.err
    assert not record["photographs"][0]["prediction"]["name"].startswith("class ")


def test_weights_that_cannot_be_downloaded(run, monkeypatch):
    def fail(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fail)
    code, _, printed = run("--model", SMALL, "--weights", "DEFAULT")
    assert "cannot download IMAGENET1K_V1" in one_line_error(code, printed)


def test_target_and_contrast_by_name_and_number(run):
    options = ["--images", CHELSEA, "--target", "Tabby", "--contrast", "Egyptian cat", 282, "--reduction", "mean"]
    code, record, _ = run(*options)
    assert code == 0
    (numbers,) = record["photographs"]
    assert numbers["target"]["name"] == "tabby"
    assert numbers["prediction"]["name"] == "tiger cat"
    assert numbers["margin"] < 0
    assert [rival["name"] for rival in numbers["rivals"]] == ["tiger cat", "Egyptian cat"]
    assert [method["name"] for method in record["methods"]] == [
        "LayerGradCam",
        "DiffGradCAM mean, Egyptian cat, tiger cat",
        "Grad-CAM++",
        "DiffGradCAM++ mean, Egyptian cat, tiger cat",
    ]


@pytest.mark.parametrize(
    ("options", "variants"),
    [
        (["--contrast", "top:2"], [f"{r}, top 2 rivals" for r in ("logsumexp", "mean", "max")]),
        (["--contrast", "3"], [f"{r}, class 3" for r in ("logsumexp", "mean", "max")]),
        (["--reduction", "max"], ["max, every other class", "max, top 5 rivals"]),
    ],
)
def test_what_is_compared_with_options(run, small_weights, options, variants):
    target = ["--target", "6"]
    code, record, _ = run("--model", SMALL, "--weights", small_weights, "--images", CHELSEA, *options, *target)
    assert code == 0
    names = [f"{family}{v}" for family in ("DiffGradCAM ", "DiffGradCAM++ ") for v in variants]
    assert [method["name"] for method in record["methods"] if method["contrast"]] == names


def test_a_prediction_in_the_contrast_set_is_skipped(run):
    code, record, printed = run("--images", CHELSEA, COFFEE, "--contrast", "espresso", "--reduction", "max")
    assert code == 0
    assert [numbers["photograph"] for numbers in record["photographs"]] == ["chelsea.png"]
    assert record["skipped"] == ["coffee.png: the prediction 'espresso' is in the contrast set"]
    assert "warning: 1 of 2 photographs skipped" in printed.err


def test_a_layer_by_name(run, small_model, small_weights):
    options = ["--model", SMALL, "--weights", small_weights, "--images", CHELSEA, "--target", "2"]
    code, record, _ = run(*options, "--layer", "stage3")
    assert code == 0
    assert record["layer"] == "stage3"
    inputs = torchvision.models.get_model_weights(SMALL).DEFAULT.transforms()(Image.open(CHELSEA))[None]
    cams = LayerGradCam(small_model, small_model.stage3), LayerDiffGradCam(small_model, small_model.stage3)
    maps = [cam.attribute(inputs, 2).detach().flatten().numpy() for cam in cams]
    found = record["photographs"][0]["methods"]["DiffGradCAM logsumexp, every other class"]["agreement"]
    assert found["LayerGradCam"]["pearson"] == pytest.approx(np.corrcoef(*maps)[0, 1], abs=1e-4)


def default_layer(name):
    # Layers are found by shapes alone, which models without memory have too.
    with torch.device("meta"):
        model = torchvision.models.get_model(name).eval()
        return choose_layer(model, torch.zeros(1, 3, 224, 224)).name


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet50", "layer4"),
        ("densenet121", "features"),
        ("mobilenet_v3_small", "features"),
        ("squeezenet1_1", "classifier.2"),
        ("convnext_tiny", "features"),
        ("swin_t", "permute"),
        ("vgg11", "avgpool"),
        (SMALL, "conv5"),
    ],
)
def test_the_default_layer(name, layer):
    assert default_layer(name) == layer


def test_the_default_layer_is_rectified_where_a_module_is_used_twice():
    classifier = load_classifier(LITE0, None, torch.device("cpu"))
    layer = choose_layer(classifier.model, blank_input(classifier.preprocess))
    assert (layer.name, layer.at_input) == ("_avg_pooling:input", True)


def test_token_layers_are_warned_of(capsys):
    assert default_layer("vit_b_32") == "conv_proj"
    assert "conv_proj is followed by token layers" in capsys.readouterr().err


def test_a_module_that_runs_twice_is_no_layer(run):
    code, _, printed = run("--layer", "_swish")
    line = one_line_error(code, printed)
    assert "runs once" in line
    assert "_bn1, _avg_pooling:input" in line


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--images", "no/such/folder"], "--images: there is no file or folder 'no/such/folder'"),
        (["--model", "resnet51"], "there is no 'resnet51'; did you mean resnet50, "),
        (["--model", SMALL, "--layer", "conv55"], "Did you mean conv5? Candidates"),
        (["--model", SMALL, "--weights", "no.pth"], "there is no file 'no.pth'; weights of shufflenet_v2_x0_5 that"),
        (["--weights", "DEFAULT"], "there is no file 'DEFAULT'"),
        (["--target", "tabbby"], "there is no class 'tabbby'; did you mean 'tabby'"),
        (["--target", "1000"], "there is no class 1000; allowed are 0 to 999"),
        (["--target", "-1"], "there is no class -1; allowed are 0 to 999"),
        (["--target", "CARDIGAN"], "several classes are named 'CARDIGAN'; give one of 264, 474"),
        (["--target", "281", "--contrast", "285", "tabby"], "the target 'tabby' is in its own contrast set"),
        (["--contrast", "1", "xyzzy"], "--contrast: there is no class 'xyzzy'; allowed are 0 to 999 and names"),
        (["--contrast", "top:0"], "got 'top:0'; allowed is top:K"),
        (["--contrast", "top:3", "7"], "got 'top:3 7'; allowed is top:K"),
        (["--reduction", "median"], "invalid choice: 'median'"),
        (["--device", "nonsense"], "device 'nonsense' is not available here"),
        (["--device", "meta"], "device 'meta' is not available here"),
        (["--threads", "0"], "--threads: got '0'"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_what_cannot_be_done_is_one_line(run, options, said):
    code, record, printed = run(*options)
    assert said in one_line_error(code, printed)
    assert record is None


def test_output_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["--output", str(tmp_path / "file")]) == 2
    assert "cannot make the folder" in capsys.readouterr().err


class Payload:
    """What a pickle must not be able to bring along."""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps(Payload()), "no file of tensors alone"),
        (b"", "no file of tensors alone"),
        (b"not weights", "no file of tensors alone"),
        ({"fc.weight": torch.zeros(7, 1024)}, "does not fit shufflenet_v2_x0_5: Error(s) in loading"),
        ([torch.zeros(3)], "holds no state dict"),
        ({"epoch": 3}, "holds no state dict"),
        (Payload(), "no file of tensors alone"),
    ],
)
def test_files_that_are_no_weights(run, tmp_path, content, said):
    path = tmp_path / "weights.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    code, _, printed = run("--model", SMALL, "--weights", path, "--images", CHELSEA)
    assert said in one_line_error(code, printed)


@pytest.fixture
def folder(tmp_path):
    """Two photographs, a broken one between them, and a text."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    Image.open(CHELSEA).resize((64, 48)).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:500])
    Image.open(COFFEE).convert("L").save(folder / "c.JPG")
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_a_broken_image_among_others(run, folder):
    code, record, printed = run("--model", SMALL, "--images", folder)
    assert code == 0
    assert record["complete"]
    assert [numbers["photograph"] for numbers in record["photographs"]] == ["a.png", "c.JPG"]
    assert record["skipped"] == ["b.png: no readable image"]
    assert "warning: b.png: no readable image" in printed.err
    assert "warning: 1 of 3 photographs skipped" in printed.err


def test_no_readable_image_at_all(run, folder):
    code, record, printed = run("--model", SMALL, "--images", folder / "b.png", folder / "notes.txt")
    assert "none of 2 could be explained" in one_line_error(code, printed)
    assert record is None


def test_a_folder_without_images(run, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, printed = run("--images", tmp_path / "empty")
    assert "there is no image in the folder" in one_line_error(code, printed)


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_what_was_computed_before_the_end_is_written(run, tmp_path, monkeypatch, capsys, end):
    def load(path):
        if path == COFFEE:
            raise end
        return images.load_image(path)

    monkeypatch.setattr(compare, "load_image", load)
    options = ["--model", SMALL, "--images", CHELSEA, COFFEE, CHELSEA]
    if end is KeyboardInterrupt:
        code, _, printed = run(*options)
        assert code == 130
        assert printed.err.splitlines()[-1] == "interrupted"
    else:
        with pytest.raises(end):
            run(*options)
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert not record["complete"]
    assert [numbers["photograph"] for numbers in record["photographs"]] == ["chelsea.png"]


def test_weights_that_are_not_finite(run, small_model, tmp_path):
    small_model.fc.weight.data[0] = torch.nan
    torch.save(small_model.state_dict(), tmp_path / "nan.pth")
    code, _, printed = run("--model", SMALL, "--weights", tmp_path / "nan.pth", "--images", CHELSEA)
    assert "returned the logit nan" in one_line_error(code, printed)


def test_a_map_without_variation_has_no_correlation(run, small_model, tmp_path):
    nn.init.zeros_(small_model.fc.weight)
    torch.save(small_model.state_dict(), tmp_path / "flat.pth")
    code, record, printed = run("--model", SMALL, "--weights", tmp_path / "flat.pth", "--images", CHELSEA)
    assert code == 0
    assert record["methods"][1]["median"]["pearson"] is None
    assert " - " in printed.out


def test_help_lists_the_benchmarks(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    assert "compare" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "--contrast" in capsys.readouterr().out


def test_no_name_is_the_main_job(tmp_path):
    args = parse(["--model", "resnet50", "--output", str(tmp_path)])
    assert (args.benchmark, args.model) == ("compare", "resnet50")


def test_benchmarks_use_the_public_api_alone():
    for path in Path(benchmarks.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("captum_diffcam"):
                assert node.module in ("captum_diffcam", "captum_diffcam.metrics", "captum_diffcam.sham"), path.name
