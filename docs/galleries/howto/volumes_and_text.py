"""
Explain volumes, video and text
===============================

You get maps of inputs that are not images: which part of a volume shows a defect, and
which words decide about a text. Video is a volume with frames as its depth.

Both models on this page are small and are trained here in a few seconds.
"""

# %%
# A volume
# --------
#
# Each volume is a scan of a solid part, 20 x 20 x 20 voxels. Some parts have a pore, a
# small dark ball. Others have a crack, a thin dark plane.

import matplotlib.pyplot as plt
import torch
from torch import nn
from torch.nn.functional import cross_entropy, interpolate

from captum_diffcam import LayerDiffGradCam

DEFECTS = ["no defect", "pore", "crack"]
SIZE = 20


def add_pore(volume, centre):
    """Darken a ball, seven voxels across."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(SIZE)] * 3, indexing="ij"), dim=-1)
    volume[((grid - centre) ** 2).sum(-1) < 12] -= 1


def add_crack(volume, corner):
    """Darken a plane of 1 x 9 x 9 voxels."""
    depth, top, left = corner.tolist()
    volume[depth, top : top + 9, left : left + 9] -= 1


def scan(n_volumes, seed):
    """Return volumes (N, 1, 20, 20, 20) and the numbers of their defects."""
    generator = torch.Generator().manual_seed(seed)
    volumes = 1 + 0.3 * torch.randn(n_volumes, SIZE, SIZE, SIZE, generator=generator)
    labels = torch.arange(n_volumes) % 3
    for volume, label in zip(volumes, labels.tolist(), strict=True):
        if label == 1:
            add_pore(volume, torch.randint(4, SIZE - 4, (3,), generator=generator))
        elif label == 2:
            add_crack(volume, torch.randint(1, SIZE - 10, (3,), generator=generator))
    return volumes[:, None], labels


torch.manual_seed(0)
features = nn.Sequential(
    *(nn.Conv3d(1, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(), nn.MaxPool3d(2)),
    *(nn.Conv3d(8, 16, 3, padding=1), nn.BatchNorm3d(16), nn.ReLU()),
)
model = nn.Sequential(features, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 3))
optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
volumes, labels = scan(180, seed=1)
for step in range(60):
    batch = torch.arange(30) + 30 * (step % 6)
    loss = cross_entropy(model(volumes[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
new_volumes, new_labels = scan(60, seed=2)
with torch.no_grad():
    right = model(new_volumes).argmax(1) == new_labels
print(f"right for {right.float().mean():.0%} of new parts")

# %%
# The call is that for images, and the map has three axes of positions. This part has a
# pore and a crack. The question is: why a pore rather than a crack?

volume = scan(1, seed=3)[0]
add_pore(volume[0, 0], torch.tensor([5, 5, 5]))
add_crack(volume[0, 0], torch.tensor([14, 9, 9]))
cam = LayerDiffGradCam(model, features)
maps = cam.attribute(volume, target=1, contrast=2)
print(tuple(maps.shape))

# %%
# Look at the two slices through the defects, with the map resized to the volume.

shown = interpolate(maps, volume.shape[2:], mode="trilinear")[0, 0]
largest = shown.abs().max()
figure, axes = plt.subplots(2, 2, figsize=(5.5, 5.6), layout="compressed")
for row, (depth, name) in zip(axes, ((5, "pore"), (14, "crack")), strict=True):
    row[0].imshow(volume[0, 0, depth], cmap="gray")
    row[0].set_title(f"slice {depth}, the {name}", fontsize=10)
    drawn = row[1].imshow(shown[depth], cmap="RdBu_r", vmin=-largest, vmax=largest)
    row[1].set_title("pore rather than crack", fontsize=10)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
colours = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.7, ticks=[])
colours.set_label("blue speaks for a crack, red for a pore", fontsize=10)

# %%
# For video, ``nn.Conv3d`` reads (N, channels, frames, height, width), and the map has a
# value for each frame and position. For a transformer of video see :doc:`layers`.
#
# Text
# ----
#
# A text is a sequence of word numbers. The model looks at pairs of words, so that it
# can tell "good" from "not good".

GOOD, BAD = ["good", "great", "tasty"], ["bad", "awful", "cold"]
REST = ["the", "soup", "was", "and", "waiter", "we", "found", "it", "very", "not"]
WORDS = [*GOOD, *BAD, *REST]


def review(positive, generator):
    """Return the words of a short review, as numbers."""

    def any_of(words):
        return words[int(torch.randint(len(words), (), generator=generator))]

    start = [any_of(REST[:-1]) for _ in range(6)]
    negate = int(torch.randint(2, (), generator=generator))
    praise = any_of(GOOD if positive != bool(negate) else BAD)
    words = [*start, *["not"] * negate, praise, *["it"] * (1 - negate)]
    return torch.tensor([WORDS.index(word) for word in words])


class ReviewModel(nn.Module):
    """Classify a text by the mean of features of pairs of words."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 16)
        self.pairs = nn.Sequential(nn.Conv1d(16, 32, 2, padding=1), nn.ReLU())
        self.head = nn.Linear(32, 2)

    def forward(self, ids):
        """Return the logits of "complaint" and "praise"."""
        return self.head(self.pairs(self.embedding(ids).transpose(1, 2)).mean(dim=2))


generator = torch.Generator().manual_seed(0)
answers = torch.arange(400) % 2
reviews = torch.stack([review(bool(answer), generator) for answer in answers])
reader = ReviewModel()
optimizer = torch.optim.Adam(reader.parameters(), lr=0.01)
for _ in range(100):
    loss = cross_entropy(reader(reviews), answers)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
reader.eval()
print(f"loss {loss.item():.3f}")

# %%
# The layer "embedding" has a value for each word. Its channels come last, which
# ``layout="swin"`` says. No gradient of the word numbers is needed.

text = "we found the soup great and the waiter not good"
sentence = text.split()
ids = torch.tensor([[WORDS.index(word) for word in sentence]])
cam = LayerDiffGradCam(reader, "embedding", layout="swin")
values = cam.attribute(ids, target=1, contrast=0)[0, 0]
print(tuple(values.shape))

figure, ax = plt.subplots(figsize=(7, 1.5), layout="constrained")
limit = values.abs().max()
drawn = ax.imshow(values[None], cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
ax.set(xticks=[], yticks=[])
ax.set_title("red speaks for praise, blue for a complaint", fontsize=10)
for place, word in enumerate(sentence):
    dark = values[place].abs() > 0.6 * limit
    ax.text(
        place, 0, word, ha="center", va="center", color="white" if dark else "black"
    )

# %%
# ``attribute`` takes the same ids as the model. Masks and other inputs go to
# ``additional_forward_args``. For a BERT of Hugging Face see
# :doc:`hugging_face_and_timm`.
