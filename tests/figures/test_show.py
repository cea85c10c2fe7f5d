"""Figures of maps: where the images and maps are, and what is written above them."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from nets import images

from captum_diffcam.figures import AGAINST, FOR, blended_colours, overlay, show_maps, show_rivals
from captum_diffcam.results import Explanation, RivalMaps


def rows_of(figure, count):
    """The text and the pixels of every image and map, row by row; None for an empty place."""
    cells = [
        (axes.get_title(), np.asarray(axes.images[0].get_array()) if axes.images else None)
        for axes in figure.axes
        if axes is not bar_of(figure)
    ]
    return [cells[i : i + count] for i in range(0, len(cells), count)]


def bar_of(figure):
    """The colour bar, the only axes of a 1 x 256 image."""
    bars = [axes for axes in figure.axes if axes.images and axes.images[0].get_array().shape == (1, 256)]
    return bars[0] if bars else None


def words_of(figure):
    """The texts at the colour bar."""
    return [text.get_text().replace("\n", " ") for text in bar_of(figure).texts]


def headings_of(figure):
    return [text.get_text() for text in figure.texts]


def explanation_of(maps, target, logits, contrast_mask):
    score = torch.zeros(len(maps))
    return Explanation(maps, torch.tensor(target), torch.tensor(logits), score, torch.tensor(contrast_mask))


def test_maps_in_columns():
    explanation = explanation_of(
        torch.ones(2, 1, 1, 1), [1, 0], [[0.0, 4.82], [9.0, 0.0]], [[True, False], [False, True]]
    )
    x = images(2)
    figure = show_maps(x, {"plain": -explanation.maps, "ours": explanation}, classes=["cat", "dog"])
    first, second = rows_of(figure, 3)
    assert headings_of(figure)[:3] == ["image", "plain", "ours"]
    assert [text for text, _ in first] == ["dog 99%", "", "rather than\ncat 1%"]
    assert [text for text, _ in second] == ["cat >99%", "", "rather than\ndog <1%"]
    for row, i in ((first, 0), (second, 1)):
        np.testing.assert_array_equal(row[1][1], overlay(x, -explanation.maps)[i])
        np.testing.assert_array_equal(row[2][1], overlay(x, explanation)[i])
    assert words_of(figure) == ["speaks for the rival", "neither", "speaks for the class"]
    assert bar_of(figure).images[0].get_cmap()(0) == blended_colours()(0)


def test_every_column_has_a_title():
    maps = torch.ones(1, 2, 1, 1, 1)
    assert headings_of(show_maps(images(1), maps)) == ["image", "map 1", "map 2"]
    assert headings_of(show_maps(images(1), maps[:, 0], limits="batch")) == ["image", "map"]
    assert headings_of(show_maps(images(1), {"two": maps, "one": maps[:, 0]})) == ["image", "two", "", "one"]


ONE_LOGIT = explanation_of(torch.ones(1, 1, 2, 2), [1], [[2.0]], [[True, False]])

MASKS = {
    "one rival": ([False, False, True, False], "rather than\nfox 3%", "speaks for fox"),
    "two rivals": ([False, False, True, True], "rather than\nowl 64% or fox 3%", "speaks for the rivals"),
    "all others": ([True, False, True, True], "", "speaks for other classes"),
    "nobody": ([False] * 4, "", "speaks against cat"),
}


@pytest.mark.parametrize("case", MASKS)
def test_the_legend_names_the_class_and_its_rivals(case):
    mask, above, left = MASKS[case]
    logits = torch.tensor([[0.24, 0.09, 0.03, 0.64]]).log()
    explanation = explanation_of(torch.ones(1, 1, 2, 2), [1], logits.tolist(), [mask])
    figure = show_maps(images(1), explanation, classes=["dog", "cat", "fox", "owl"])
    ((image, one),) = rows_of(figure, 2)
    assert image[0] == ("cat 9%" if any(mask) else "cat")
    assert one[0] == above
    *numbers, against, _, in_favour = words_of(figure)
    assert numbers == ["\N{MINUS SIGN}1", "0", "+1"]
    assert (against, in_favour) == (left, "speaks for cat")
    axes = figure.axes
    assert axes[0].title.get_color() == bar_of(figure).texts[-1].get_color() == FOR
    assert axes[1].title.get_color() == bar_of(figure).texts[-3].get_color() == AGAINST


def test_the_legend_of_different_contrast_sets():
    masks = [[True, False, True, True], [False, False, True, False]]
    explanation = explanation_of(torch.ones(2, 1, 2, 2), [1, 1], [[0.0, 3, 2, 1]] * 2, masks)
    assert words_of(show_maps(images(2), explanation))[0] == "speaks for the rivals"


def test_many_rivals_are_counted():
    mask = [[True] * 5 + [False, False]]
    explanation = explanation_of(torch.ones(1, 1, 2, 2), [6], [[0.0, 5, 1, 2, 3, 9, 9]], mask)
    figure = show_maps(images(1), explanation, probabilities=None)
    assert rows_of(figure, 2)[0][1][0] == "rather than\nclass 1, class 4, 3 more"


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_one_logit_names_both_classes(shape):
    logits = torch.tensor([2.0, -1.0]).reshape(shape)
    explanation = explanation_of(torch.ones(2, 1, 2, 2), [1, 0], logits.tolist(), [[True, False], [False, True]])
    for probabilities in ("auto", "sigmoid"):
        figure = show_maps(images(2), explanation, classes=["healthy", "sick"], probabilities=probabilities)
        assert [row[0][0] for row in rows_of(figure, 2)] == ["sick 88%", "healthy 73%"]
        assert [row[1][0] for row in rows_of(figure, 2)] == ["rather than\nhealthy 12%", "rather than\nsick 27%"]
    figure = show_maps(images(2), explanation, classes={0: "healthy", 1: "sick"}, probabilities=None)
    assert [row[0][0] for row in rows_of(figure, 2)] == ["sick", "healthy"]


def test_probabilities_of_many_classes():
    logits = [[0.0, 1.0, 2.0]]
    alone = explanation_of(torch.ones(1, 1, 2, 2), [1], logits, [[False] * 3])
    against = alone._replace(contrast_mask=torch.tensor([[True, False, True]]))
    for explanation, probabilities, expected in (
        (alone, "auto", "class 1"),
        (against, "auto", "class 1 24%"),
        (alone, "softmax", "class 1 24%"),
        (against, "sigmoid", "class 1 73%"),
        (against, None, "class 1"),
    ):
        figure = show_maps(images(1), explanation, probabilities=probabilities)
        assert figure.axes[0].get_title() == expected


def test_outputs_with_positions_have_no_probability():
    explanation = explanation_of(torch.ones(1, 1, 2, 2), [1], [[[[0.0, 1.0]]] * 3], [[True, False, True]])
    figure = show_maps(images(1), explanation)
    assert figure.axes[0].get_title() == "class 1"
    with pytest.raises(ValueError, match="probabilities"):
        show_maps(images(1), explanation, probabilities="softmax")
    single = explanation_of(torch.ones(1, 1, 2, 2), [1], [[[[0.0]], [[1.0]]]], [[True, False]])
    assert show_maps(images(1), single).axes[0].get_title() == "class 1 73%"


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
    assert [text for text, _ in first] == ["cat 58%", "rather than\nfox 21%", pointer]
    assert [text for text, _ in second] == ["fox 50%", "rather than\ncat 50%", ""]
    np.testing.assert_array_equal(first[2][1], overlay(x, RIVALS)[0, 1])
    assert second[2][1] is None  # no second rival
    assert [axes.title.get_color() for axes in figure.axes[:3]] == [FOR, AGAINST, AGAINST]
    assert words_of(figure)[0] == "speaks for the rival"


def test_the_legend_names_a_rival_that_all_maps_share():
    one = RivalMaps(*(field[:1, :1] for field in RIVALS[:3]), *(field[:1] for field in RIVALS[3:]))
    words = words_of(show_rivals(images(1), one, classes=["dog", "cat", "fox"]))
    assert words[-3:] == ["speaks for fox", "neither", "speaks for cat"]


def test_rivals_of_several_layers_in_columns():
    figure = show_maps(images(2), RIVALS._replace(maps=[RIVALS.maps, -RIVALS.maps]))
    first, second = rows_of(figure, 5)
    assert [text for text, _ in first[1:3]] == [text for text, _ in first[3:]]
    assert second[2][1] is second[4][1] is None


def test_no_rivals_at_all():
    none = RivalMaps(*(field[:, :0] for field in RIVALS[:3]), *RIVALS[3:])
    figure = show_rivals(images(2), none)
    assert [axes.get_title() for axes in figure.axes] == ["class 1 58%", "class 2 50%"]
    assert bar_of(figure) is None


@pytest.mark.parametrize("positive", [False, True])
def test_numbers_stand_at_the_scale_that_all_maps_share(positive):
    pair = torch.tensor([[1.0, 2.0], [-8.0, 4.0]])[:, :, None, None, None]
    expected = ["0", "2", "4 nats"] if positive else ["\N{MINUS SIGN}8", "0", "+8 nats"]
    figure = show_maps(images(2), pair, limits="batch", unit="nats", positive=positive)
    assert words_of(figure)[:3] == expected
    assert "scale" not in " ".join(headings_of(figure))
    for limits in ("image", "map"):
        figure = show_maps(images(2), pair, limits=limits, positive=positive)
        assert f"Each {limits} has its own scale." in headings_of(figure)
        assert not any(character.isdigit() for character in "".join(words_of(figure)))
    assert "2" in "".join(words_of(show_maps(images(1), pair[:1], positive=positive)))


def test_one_scale_for_the_batch_ignores_the_sign_and_empty_maps():
    figure = show_maps(images(2), torch.zeros(2, 1, 2, 2), limits="batch")
    assert not any(character.isdigit() for character in "".join(words_of(figure)))


def test_maps_that_are_not_finite_are_named():
    maps = torch.ones(2, 2, 1, 3, 3)
    maps[0, 1, 0, 2, 1] = torch.nan
    figure = show_maps(images(2), maps)
    notes = [[text.get_text() for text in axes.texts] for axes in figure.axes[:6]]
    assert notes == [[], [], ["map is not finite"], [], [], []]


def test_images_of_different_sizes():
    small, wide = images(1, size=6)[0], torch.rand(3, 8, 16)
    maps = torch.tensor([1.0, -1.0])[:, None, None, None]
    figure = show_maps([small, wide], maps)
    heights = [axes.get_position().height for axes in figure.axes[:4]]
    assert heights[0] == heights[1] == pytest.approx(2 * heights[2])
    assert heights[2] == heights[3]


def test_large_photographs_are_drawn_small():
    figure = show_maps(torch.rand(1, 1, 2000, 1000), torch.ones(1, 1, 2, 2))
    assert all(max(axes.images[0].get_array().shape) <= 1000 for axes in figure.axes[:2])


NAMES = ["Staffordshire bullterrier or American pit", "black and gold garden spider", "miniature schnauzer"]


def check_texts(figure, path):
    """No text runs into another or into an image, or out of the figure; all are large enough to read."""
    figure.savefig(path)
    texts = [text for axes in figure.axes for text in (axes.title, *axes.texts) if text.get_text()] + figure.texts
    assert min(text.get_fontsize() for text in texts) >= 9
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    frame = figure.bbox
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    pictures = [axes.get_window_extent().padded(-1) for axes in figure.axes]
    assert not any(box.overlaps(picture) for box in boxes for picture in pictures)


@pytest.mark.parametrize("limits", ["image", "batch"])
@pytest.mark.parametrize("count", [1, 2])
def test_texts_of_rivals_stay_apart(limits, count, tmp_path):
    rivals = RivalMaps(*(field[:count] for field in RIVALS))
    figure = show_rivals(images(count), rivals, classes=NAMES, limits=limits, unit="nats")
    check_texts(figure, tmp_path / "rivals.png")


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("rival", [[True, False, True], [False, False, True]])
def test_texts_of_maps_stay_apart(positive, rival, tmp_path):
    explanation = explanation_of(torch.ones(1, 1, 2, 2), [1], [[0.0, 1.0, 2.0]], [rival])
    figure = show_maps(images(1), {"a title of many words": explanation}, classes=NAMES, positive=positive, unit="nats")
    check_texts(figure, tmp_path / "maps.png")


def contrast_ratio(one, other):
    """The WCAG contrast ratio of two colours."""
    lights = []
    for colour in (one, other):
        rgb = np.array(mpl.colors.to_rgb(colour))
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        lights.append(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(lights) / min(lights)


@pytest.mark.parametrize("background", ["white", "black", "#131416", "#f8f9fb", "0.22", (1, 1, 1, 0), (0, 0, 0, 0)])
def test_texts_are_legible_on_any_background(background):
    with mpl.rc_context({"figure.facecolor": background, "text.color": "gray"}):
        figure = show_maps(images(2), {"ours": RIVALS}, classes=NAMES)
    assert mpl.colors.to_rgba(figure.get_facecolor())[3] == 1
    texts = [text for axes in figure.axes for text in (axes.title, *axes.texts) if text.get_text()] + figure.texts
    assert all(contrast_ratio(text.get_color(), figure.get_facecolor()) >= 4.5 for text in texts)


def test_names_are_no_formulas():
    figure = show_maps(images(1), {"$x^$": torch.ones(1, 1, 2, 2)})
    figure.canvas.draw()
    assert headings_of(figure)[1] == "$x^$"


def test_pyplot_is_left_alone():
    show_maps(images(1), torch.ones(1, 1, 2, 2))
    assert not pyplot.get_fignums()


@pytest.mark.parametrize(
    ("call", "error", "argument"),
    [
        (lambda x: show_rivals(x, x[:, :1]), TypeError, "rivals"),
        (lambda x: show_rivals(x[:2], RIVALS._replace(maps=[RIVALS.maps] * 2)), ValueError, "rivals"),
        (lambda x: show_rivals(x[:2], RIVALS, classes=["a"]), IndexError, "classes"),
        (lambda x: show_rivals(x[:2], RIVALS, probabilities="percent"), ValueError, "probabilities"),
        (lambda x: show_maps(x[:1], ONE_LOGIT, probabilities="softmax"), ValueError, "probabilities"),
    ],
)
def test_errors(call, error, argument):
    with pytest.raises(error, match=f"`{argument}` must"):
        call(images())


class TestBoxes:
    """Maps of two by two positions over images of 8 x 8 pixels."""

    maps = torch.tensor([[[[1.0, 2.0], [4.0, -8.0]]]])

    def lines(self, figure, columns=2):
        return [[text.split("\n") for text, _ in row] for row in rows_of(figure, columns)]

    def test_the_text_says_how_much_of_the_map_lies_in_each(self):
        figure = show_maps(images(1, size=8), self.maps, boxes={"left": (0, 0, 4, 8), "corner": (6, 6, 8, 8)})
        assert self.lines(figure) == [[[""], ["left: +5", "corner: -2"]]]

    def test_outlines(self):
        figure = show_maps(images(1, size=8), self.maps, boxes={"left": (0, 1, 4, 8)})
        for axes in figure.axes[:2]:
            box = axes.patches[-1].get_bbox()
            # Pixel 0 reaches from -0.5 to 0.5.
            assert box.extents.tolist() == [-0.5, 0.5, 3.5, 7.5]
        assert not show_maps(images(1, size=8), self.maps).axes[0].patches

    def test_a_box_for_each_image(self):
        boxes = {"object": [(0, 0, 4, 8), (4, 0, 8, 8)]}
        figure = show_maps(images(2, size=8), self.maps.repeat(2, 1, 1, 1), boxes=boxes)
        assert self.lines(figure) == [[[""], ["object: +5"]], [[""], ["object: -6"]]]

    def test_pixels_are_those_of_the_image_that_is_drawn(self):
        """A preprocessing crops the centre of a large image, and the figure draws it smaller."""
        wide = torch.zeros(3, 1000, 2000, dtype=torch.uint8)

        def crop(image):
            return torch.nn.functional.interpolate(image[None, ..., 500:1500].float(), 100, mode="area")[0]

        figure = show_maps([wide], self.maps, boxes={"left": (0, 0, 1000, 1000)}, preprocess=crop)
        assert self.lines(figure)[0][1] == ["left: +5"]
        extents = figure.axes[0].patches[-1].get_bbox().extents
        np.testing.assert_allclose(extents, [-0.5, -0.5, 399.5, 399.5])

    def test_rivals(self):
        logits = torch.tensor([[0.0, 1.0, 2.0]])
        rivals = RivalMaps(
            torch.stack([self.maps, -self.maps], dim=1),
            torch.tensor([[1, 0]]),
            torch.ones(1, 2),
            torch.tensor([2]),
            logits,
        )
        figure = show_rivals(images(1, size=8), rivals, boxes={"left": (0, 0, 4, 8)}, probabilities=None)
        assert [cell[-1] for cell in self.lines(figure, 3)[0][1:]] == ["left: +5", "left: -5"]

    @pytest.mark.parametrize(
        ("box", "error"),
        [("left", TypeError), ((0, 0, 4), ValueError), ([(0, 0, 4, 4)] * 3, ValueError), ((4, 0, 0, 8), ValueError)],
        ids=str,
    )
    def test_bad_boxes(self, box, error):
        with pytest.raises(error, match="boxes"):
            show_maps(images(2, size=8), self.maps.repeat(2, 1, 1, 1), boxes={"left": box})
