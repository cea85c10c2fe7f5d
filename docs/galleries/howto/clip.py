"""
Explain CLIP and SigLIP: prompts are the classes
================================================

You get a map of why a model of images and texts prefers one prompt to others. The
logits of an image are its similarities to the prompts. So the prompts are the classes,
and ``contrast`` names the other prompts.
"""

# %%
# A small model of images and texts
# ---------------------------------
#
# This page trains a stand-in in a few seconds: an image tower, a text tower that adds
# up the words of a prompt, and the loss of SigLIP. An image contains two objects, each
# with a shape and a colour; a prompt names a shape or a colour.

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from captum_diffcam import LayerDiffGradCam, last_spatial_layer
from captum_diffcam.figures import show_maps, show_rivals

WORDS = ["disc", "square", "cross", "red", "green", "blue"]
grid = torch.stack(torch.meshgrid([torch.arange(11) - 5] * 2, indexing="ij")).float()
disc = grid.norm(dim=0) <= 5
square = grid.abs().amax(dim=0) <= 4
cross = grid.abs().amin(dim=0) <= 1


def draw(count, seed):
    """Return images (N, 3, 40, 40), and which of the words each shows, (N, 6)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.35 + 0.1 * torch.rand(count, 3, 40, 40, generator=generator)
    shown = torch.zeros(count, len(WORDS))
    corners = torch.tensor([(2, 2), (2, 26), (26, 2), (26, 26)])
    for image, words in zip(images, shown):
        places = corners[torch.randperm(4, generator=generator)[:2]].tolist()
        shapes = torch.randperm(3, generator=generator)[:2].tolist()
        colours = torch.randperm(3, generator=generator)[:2].tolist()
        for shape, colour, (top, left) in zip(shapes, colours, places):
            patch = image[:, top : top + 11, left : left + 11]
            paint = torch.full((3, 1, 1), 0.1)
            paint[colour] = 1.0
            patch[:] = torch.where((disc, square, cross)[shape], paint, patch)
            words[[shape, 3 + colour]] = 1
    return images, shown


class TwoTowers(nn.Module):
    """Similarities of images to prompts, as CLIP and SigLIP compute them."""

    def __init__(self):
        super().__init__()
        self.vision = nn.Sequential(
            *(nn.Conv2d(3, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU()),
            *(nn.Conv2d(16, 32, 5, stride=2, padding=2), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        )
        self.words = nn.EmbeddingBag(len(WORDS) + 1, 32, padding_idx=len(WORDS))
        self.scale, self.bias = (
            nn.Parameter(torch.tensor(2.5)),
            nn.Parameter(-torch.ones(1)),
        )

    def encode_text(self, prompts):
        """Return an embedding for each prompt, of the words that the model knows."""
        known = [[w for w in prompt.split() if w in WORDS] for prompt in prompts]
        ids = [[WORDS.index(w) for w in words] for words in known]
        return torch.cat([normalize(self.words(torch.tensor([i])), dim=1) for i in ids])

    def forward(self, images, text):
        """Return logits (N, prompts)."""
        pooled = normalize(self.vision(images).mean(dim=(2, 3)), dim=1)
        return self.scale.exp() * pooled @ text.T + self.bias


torch.manual_seed(0)
model = TwoTowers()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
images, shown = draw(960, seed=0)
for step in range(150):
    batch = torch.arange(32 * step, 32 * step + 32) % len(images)
    logits = model(images[batch], model.encode_text(WORDS))
    loss = binary_cross_entropy_with_logits(logits, shown[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model = model.eval()

# %%
# One line gives the logits
# -------------------------
#
# Prompts do not change from image to image, so their embeddings are computed once. A
# function of the images returns the logits. ``last_spatial_layer`` runs it and finds
# the last layer of the image tower.

prompts = ["a disc", "a square", "a cross", "red", "blue"]
with torch.no_grad():
    text = model.encode_text(prompts)


def classify(images):
    """Return the similarity of each image to each prompt, (N, prompts)."""
    return model(images, text)


images = draw(100, seed=1)[0][:2]
layer = last_spatial_layer(classify, images)
print(layer)
cam = LayerDiffGradCam(classify, layer)

# %%
# Why this prompt and not that one?
# ---------------------------------
#
# Red speaks for the first prompt, blue for the second. Both describe the first image,
# and the map shows what each of them refers to.

explanation = cam.explain(images[:1], target=0, contrast=1)
show_maps(images[:1], explanation, classes=prompts)

# %%
# ``attribute_rivals`` gives one map for each other prompt, here for the second image:
# why "a cross" rather than "a square", and rather than "red"?

others = torch.zeros(len(prompts), dtype=torch.bool)
others[[1, 3]] = True
rivals = cam.attribute_rivals(images[1:], 2, others)
show_rivals(images[1:], rivals, classes=prompts)

# %%
# "A cross" and "red" describe the same object, so nothing in the image speaks for one
# of them rather than the other.
#
# CLIP compares, SigLIP does not
# ------------------------------
#
# CLIP's probability of a prompt is a softmax over the prompts that you wrote. The
# default contrast, all other prompts, explains it, and it changes with your list of
# prompts.
#
# SigLIP's probability is a sigmoid for each prompt by itself. ``contrast=[]`` explains
# it, and ``probabilities="sigmoid"`` prints it:

explanation = cam.explain(images, target=4, contrast=[])
show_maps(images, explanation, classes=prompts, probabilities="sigmoid")

# %%
# Models of Hugging Face
# ----------------------
#
# The output of ``CLIPModel`` and ``SiglipModel`` has the logits as
# ``logits_per_image``, so this is the line that gives logits:
#
# .. code-block:: python
#
#    from transformers import CLIPModel, CLIPProcessor
#
#    name = "openai/clip-vit-base-patch32"
#    model = CLIPModel.from_pretrained(name).eval()
#    processor = CLIPProcessor.from_pretrained(name)
#    prompts = ["a photo of a cat", "a photo of a dog"]
#    inputs = processor(text=prompts, images=[image], return_tensors="pt", padding=True)
#
#
#    def classify(pixels):
#        tokens = {key: inputs[key] for key in ("input_ids", "attention_mask")}
#        return model(pixel_values=pixels, **tokens).logits_per_image
#
#
#    pixels = inputs["pixel_values"]
#    cam = LayerDiffGradCam(classify, last_spatial_layer(classify, pixels))
#    explanation = cam.explain(pixels, target=0, contrast=1)
#
# SigLIP 1 and 2 differ in the names of the classes only; their tokenizer returns no
# ``attention_mask`` unless you ask for it.
#
# Where transformers is installed, the page runs the same with random weights:

from importlib.util import find_spec

if find_spec("transformers"):
    from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

    def explain_first_prompt(network):
        """Explain the first of four prompts against the second."""

        def classify(pixels):
            return network(pixel_values=pixels, input_ids=ids).logits_per_image

        layer = last_spatial_layer(classify, pixels)
        maps = LayerDiffGradCam(classify, layer).attribute(pixels, target=0, contrast=1)
        print(type(network).__name__, layer.name, layer.layout, tuple(maps.shape))

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    tower |= {"num_hidden_layers": 3}
    vision = {**tower, "image_size": 64, "patch_size": 8}
    words = {**tower, "vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2}
    pixels, ids = torch.rand(2, 3, 64, 64), torch.randint(3, 99, (4, 7))
    for config, kind in ((CLIPConfig, CLIPModel), (SiglipConfig, SiglipModel)):
        network = kind(config(vision_config=vision, text_config=words)).eval()
        explain_first_prompt(network)

# %%
# open_clip is the same again: ``model.encode_text(tokens)`` once, and
# ``logit_scale.exp() * normalize(model.encode_image(pixels), dim=1) @ text.T`` in the
# function.
