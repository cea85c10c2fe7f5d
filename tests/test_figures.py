"""Maps over their images: which colour stands where, and what is written above."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from nets import conv_net, images

from captum_diffcam import LayerDiffGradCam, top_rivals
from captum_diffcam.figures import AGAINST, FOR, blended_colours, overlay, show_maps, show_rivals
from captum_diffcam.results import Explanation, RivalMaps

SIGNED, POSITIVE = mpl.colormaps["RdBu_r"], mpl.colormaps["inferno"]


def blend(grey, colour):
    """Six tenths of the map's colour over the grey of its image."""
    return 0.4 * grey + 0.6 * np.array(colour[:3])


def rows_of(figure, count):
    """The axes of a figure row by row, without the scale at the foot: what they say and show."""
    cells = [(axes.get_title(), np.asarray(axes.images[0].get_array())) for axes in figure.axes[:-1]]
    return [cells[i : i + count] for i in range(0, len(cells), count)]


def test_colours_are_centred_on_zero():
    grey = torch.full((1, 3, 4, 4), 0.25)
    maps = torch.tensor([[4.0, 4, -2, -2]]).repeat(4, 1)[None, None]
    maps[..., 1:, :] *= 0
    drawn = overlay(grey, maps)
    assert drawn.shape == (1, 4, 4, 3)
    assert drawn.dtype == np.float32
    np.testing.assert_allclose(drawn[0, 0, 0], blend(0.25, SIGNED(1.0)), atol=5e-3)
    np.testing.assert_allclose(drawn[0, 0, 3], blend(0.25, SIGNED(0.25)), atol=5e-3)
    np.testing.assert_allclose(drawn[0, 3, 3], blend(0.25, SIGNED(0.5)), atol=5e-3)


def test_the_positive_part():
    drawn = overlay(torch.full((1, 1, 1, 2), 0.5), torch.tensor([[[[3.0, -9.0]]]]), positive=True)
    np.testing.assert_allclose(drawn[0, 0], [blend(0.5, POSITIVE(1.0)), blend(0.5, POSITIVE(0.0))], atol=5e-3)


def test_the_image_is_grey_below_its_map():
    drawn = overlay(torch.tensor([0.1, 0.6, 0.8])[None, :, None, None], torch.zeros(1, 1, 1, 1))
    np.testing.assert_allclose(drawn[0, 0, 0], blend(0.5, SIGNED(0.5)), atol=5e-3)


def test_limits_are_shared_among_the_maps_of_an_image():
    pair = torch.tensor([[1.0, 2.0], [8.0, 4.0]])[:, :, None, None, None]  # two images, two rivals each
    black = torch.zeros(2, 3, 1, 1)
    shared, own = overlay(black, pair)[:, :, 0, 0], overlay(black, pair, limits="map")[:, :, 0, 0]
    for values, drawn in (([[0.5, 1], [1, 0.5]], shared), ([[1, 1], [1, 1]], own)):
        expected = [[blend(0, SIGNED((value + 1) / 2)) for value in row] for row in values]
        np.testing.assert_allclose(drawn, expected, atol=5e-3)


def test_maps_are_upsampled_bilinearly():
    step = torch.tensor([[[[0.0, 1.0]]]])
    red = [SIGNED((1 + value) / 2)[0] * 0.6 for value in (0, 0.25, 0.75, 1)]
    np.testing.assert_allclose(overlay(torch.zeros(1, 1, 1, 4), step)[0, 0, :, 0], red, atol=5e-3)


def shown(given, **statistics):
    """The image as a figure shows it. Shape: (N, C, H, W) -> (N, H, W, 3)."""
    figure = show_maps(given, torch.zeros(len(given), 1, 1, 1), **statistics)
    return np.stack([row[0][1] for row in rows_of(figure, 2)])


def test_images_are_shown_as_they_are_meant():
    x = images(2, size=4)
    last = x.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(shown(x), last)
    np.testing.assert_allclose(shown((x * 255).round().to(torch.uint8)), last, atol=2e-3)
    np.testing.assert_allclose(shown(x.numpy()), last)
    normalised = (x - torch.tensor([0.4, 0.5, 0.6])[:, None, None]) / 0.2
    np.testing.assert_allclose(shown(normalised, mean=(0.4, 0.5, 0.6), std=0.2), last, atol=1e-6)
    stretched = [(image - image.min()) / (image.max() - image.min()) for image in normalised]
    np.testing.assert_allclose(shown(normalised), torch.stack(stretched).permute(0, 2, 3, 1), atol=1e-6)
    assert not shown(torch.full((1, 1, 2, 2), -3.0)).any()


def test_everything_that_the_library_returns_is_drawn(x):
    net = conv_net()
    cam = LayerDiffGradCam(net, net.features)
    both = LayerDiffGradCam(net, [net.features, net.head[1]])
    maps, size = cam.attribute(x, 1), x.shape[2:]
    assert overlay(x, maps).shape == (3, *size, 3)
    np.testing.assert_array_equal(overlay(x, maps.numpy()), overlay(x, maps))
    np.testing.assert_array_equal(overlay(x, cam.explain(x, 1)), overlay(x, maps))
    assert overlay(x, both.explain(x)).shape == (3, 2, *size, 3)
    np.testing.assert_array_equal(overlay(x, both.attribute(x, 1), limits="map")[:, 0], overlay(x, maps))
    rivals = cam.attribute_rivals(x, 1, top_rivals(2))
    assert overlay(x, rivals).shape == (3, 2, *size, 3)
    one = cam.attribute(x, 1, contrast=rivals.rivals[:, 1:])
    np.testing.assert_array_equal(overlay(x, rivals, limits="map")[:, 1], overlay(x, one))


def test_maps_in_columns():
    logits = torch.tensor([[0.0, 3.0], [9.0, 0.0]])
    rival = torch.tensor([[True, False], [False, True]])
    explanation = Explanation(torch.ones(2, 1, 1, 1), torch.tensor([1, 0]), logits, torch.tensor([3.0, 9.0]), rival)
    x = images(2)
    figure = show_maps(x, {"plain": -explanation.maps, "ours": explanation}, classes=["cat", "dog"])
    first, second = rows_of(figure, 3)
    assert [said for said, _ in first] == ["dog 95%", "plain", "ours"]
    assert [said for said, _ in second] == ["cat >99%", "", ""]
    for row, i in ((first, 0), (second, 1)):
        np.testing.assert_array_equal(row[1][1], overlay(x, -explanation.maps)[i])
        np.testing.assert_array_equal(row[2][1], overlay(x, explanation)[i])
    scale = figure.axes[-1]
    assert [text.get_text() for text in scale.texts] == ["speaks against the class", "neither", "speaks for the class"]
    assert scale.images[0].get_cmap()(0) == pytest.approx((*blend(0.5, SIGNED(0.0)), 1))


def test_titles_and_classes_without_names():
    maps = torch.ones(1, 2, 1, 1, 1)
    nobody = torch.zeros(1, 4, dtype=torch.bool)
    explanation = Explanation(maps, torch.tensor([3]), torch.zeros(1), torch.zeros(1), nobody)
    ((image, one, other),) = rows_of(show_maps(images(1), explanation, titles=["a", "b"], positive=True), 3)
    assert (image[0], one[0], other[0]) == ("class 3", "a", "b")


RIVALS = RivalMaps(
    torch.tensor([[1.0, -4.0], [2.0, 0.0]])[:, :, None, None, None],
    torch.tensor([[2, 0], [1, -1]]),
    torch.tensor([[0.5, 0.5], [1, 0]]),
    torch.tensor([1, 2]),
    torch.tensor([[0.0, 1.0, 0.0], [-9.0, 0.0, 0.0]]),
)


def test_rivals_are_named():
    names = {0: "German short-haired pointer", 1: "cat", 2: "fox"}
    x = images(2)
    figure = show_rivals(x, RIVALS, classes=names)
    first, second = rows_of(figure, 3)
    pointer = "rather than\nGerman short-haired\npointer 21%"
    assert [said for said, _ in first] == ["cat 58%", "rather than\nfox 21%", pointer]
    assert [said for said, _ in second] == ["fox 50%", "rather than\ncat 50%", ""]
    np.testing.assert_array_equal(first[2][1], overlay(x, RIVALS)[0, 1])
    assert (second[2][1] == 1).all()  # no second rival
    assert [axes.title.get_color() for axes in figure.axes[:3]] == [FOR, AGAINST, AGAINST]
    assert figure.axes[-1].texts[0].get_text() == "speaks for the rival"


def test_no_rivals_at_all():
    none = RivalMaps(*(field[:, :0] for field in RIVALS[:3]), *RIVALS[3:])
    assert [axes.get_title() for axes in show_rivals(images(2), none).axes] == ["class 1 58%", "class 2 50%"]


def test_texts_stay_within_the_figure(tmp_path):
    """And no text runs into another."""
    names = ["Staffordshire bullterrier or American pit", "black and gold garden spider", "miniature schnauzer"]
    figure = show_rivals(images(2), RIVALS, classes=names)
    figure.savefig(tmp_path / "rivals.png")
    texts = [text for axes in figure.axes for text in (axes.title, *axes.texts) if text.get_text()]
    boxes = [text.get_window_extent() for text in texts]
    frame = figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    pictures = [axes.get_window_extent().padded(-1) for axes in figure.axes]
    assert not any(box.overlaps(picture) for box in boxes for picture in pictures)


def test_pyplot_is_left_alone():
    show_maps(images(1), torch.ones(1, 1, 2, 2))
    assert not pyplot.get_fignums()


def test_the_scale_is_what_lies_over_grey():
    np.testing.assert_allclose(blended_colours(True)(1.0)[:3], blend(0.5, POSITIVE(1.0)), atol=1e-6)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: overlay([x], x[:, :1]), TypeError, "images: got list"),
        (lambda x: overlay(x[0], x[:, :1]), ValueError, r"images: got shape \(3, 9, 9\)"),
        (lambda x: overlay(x, x), ValueError, r"maps: got shape \(3, 3, 9, 9\); allowed are"),
        (lambda x: overlay(x, "maps"), TypeError, "maps: got str"),
        (lambda x: overlay(x, x[:2, :1]), ValueError, "maps: got maps of 2 images; there are 3"),
        (lambda x: overlay(x, x[:, :1], limits="all"), ValueError, "limits: got 'all'; allowed are 'image', 'map'"),
        (lambda x: overlay(x, x[:, :1], mean=(0.5, 0.5)), ValueError, r"mean: got 2 numbers; the images have 3"),
        (lambda x: show_maps(x[:0], x[:0, :1]), ValueError, "images: got none"),
        (lambda x: show_maps(x, x[:, :1], titles=["a", "b"]), ValueError, r"titles: got 2 for 1 map\(s\)"),
        (lambda x: show_rivals(x, x[:, :1]), TypeError, "rivals: got Tensor"),
        (lambda x: show_rivals(x[:2], RIVALS._replace(maps=[RIVALS.maps] * 2)), ValueError, "maps of 2 layers"),
        (lambda x: show_rivals(x[:2], RIVALS, classes=["a"]), IndexError, "classes: has no name for class 2; there"),
    ],
)
def test_errors(call, error, said):
    with pytest.raises(error, match=said):
        call(images())
