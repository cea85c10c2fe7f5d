"""
Choose a layer and its layout
=============================

You get the layer to explain, by a function that finds it or by its name, and the layout
that tokens need. The last layer with positions is the usual choice: ``"layer4"`` of a
ResNet, ``"features"`` of a DenseNet or a ConvNeXt. An earlier layer gives a finer map,
of less that the prediction depends on. :doc:`/results/zoo` names a layer for every
classifier of torchvision.

The models on this page are small and have random weights, so it prints only shapes.
"""

# %%
# Found, or by name
# -----------------
#
# ``last_spatial_layer`` runs the model once and returns layer, side and layout in one.
# The side says whether the layer's output or its *input* is explained. The input is
# used in front of a pooling, if the ReLU before it has no name of its own. Then no
# further argument is needed. ``spatial_layers`` lists all layers that can be explained.
# An error for a wrong name suggests similar names.

import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer, resnet18

from captum_diffcam import (
    InputAttribution,
    LayerDiffGradCam,
    last_spatial_layer,
    spatial_layers,
    vit_layout,
)

resnet = resnet18().eval()
images = torch.rand(2, 3, 224, 224)
found = last_spatial_layer(resnet, images)
print(found, [layer.name for layer in spatial_layers(resnet, images)][-3:])
cam = LayerDiffGradCam(resnet, "layer4")
print(cam.attribute(images, target=281).shape)
try:
    LayerDiffGradCam(resnet, "layer5")
except ValueError as error:
    print(error)

# %%
# Positions may be along a time series, in an image or in a volume.

convolution = nn.Conv1d(1, 8, 5)
head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
series = nn.Sequential(convolution, nn.ReLU(), head)
cam = LayerDiffGradCam(series, convolution)
print(cam.attribute(torch.rand(2, 1, 100), target=0).shape)

# %%
# Vision transformers
# -------------------
#
# Their layers keep channels last: tokens (N, T, D). Read as the output of a
# convolution, features would be averaged and tokens weighted. Captum's LayerGradCam
# does that; this library warns. The layout is an argument of the constructor, and
# ``last_spatial_layer`` finds it, too. Class and register tokens come first and have no
# position, so they are left out.

size = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
vit = VisionTransformer(image_size=64, patch_size=8, **size).eval()
nn.init.normal_(vit.heads.head.weight)
images = torch.rand(2, 3, 64, 64)
last = vit.encoder.layers[-1]
print(last_spatial_layer(vit, images))
cam = LayerDiffGradCam(vit, last.ln_1, layout="vit")
print(cam.attribute(images, target=3).shape)

# %%
# After the attention of the last block only the class token reaches the output, so no
# patch has a gradient there. The error names the layer to use instead.

try:
    LayerDiffGradCam(vit, last, layout="vit").attribute(images, target=3)
except ValueError as error:
    print(error)

# %%
# The grid is read from the run: the patch embedding returns rows and columns, and they
# are followed to the layer's tokens. This works for inputs of any size, padded or
# resized inside the model, for overlapping patches, and for video. Here are 4 x 8
# patches of 8 x 8 pixels behind a class token:


embed, token = nn.Conv2d(3, 16, 8, stride=8), torch.randn(1, 1, 16)
norm = nn.LayerNorm(16)
attention = nn.MultiheadAttention(16, 2, batch_first=True)


def tokens_of(inputs):
    """Return the patches of images of any size."""
    return embed(inputs).flatten(2).transpose(1, 2)


def patches(inputs):
    """Return logits of a small transformer from its class token."""
    tokens = torch.cat([token.expand(len(inputs), 1, 16), tokens_of(inputs)], dim=1)
    tokens = norm(tokens)
    return attention.eval()(tokens, tokens, tokens)[0][:, 0]


cam = LayerDiffGradCam(patches, norm, layout="vit")
print(cam.attribute(torch.rand(2, 3, 32, 64), target=3).shape)

# %%
# If the run does not show the grid, an error asks for it: after operations that move
# tokens, for learned queries, in TorchScript, and in the threads of ``DataParallel``.
# Then pass the grid; the patches are taken to be the last tokens. For video it has
# three numbers.

cam = LayerDiffGradCam(patches, norm, layout=vit_layout(grid=(4, 8)))
print(cam.attribute(torch.rand(2, 3, 32, 64), target=3).shape)
print(vit_layout(grid=(8, 7, 7))(torch.zeros(2, 1 + 8 * 7 * 7, 16)).shape)

# %%
# A Swin keeps channels last, (N, H, W, D): ``layout="swin"``. For anything else pass a
# function that reorders:

swin = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=10).eval()
for layout in ("swin", lambda tensor: tensor.movedim(-1, 1)):
    cam = LayerDiffGradCam(swin, swin.features, layout=layout)
    print(cam.attribute(images, target=3).shape)

# %%
# Text and audio
# --------------
#
# The layers of a BERT or a wav2vec return (N, T, D), channels last: ``layout="swin"``
# reads sequences of any length. The map has a value for each token or frame. The ids
# are integers without a gradient, but the layer's output has one.

embedding = nn.Embedding(100, 16)
block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
text = nn.Sequential(embedding, block)


def classify(ids):
    """Return logits from the mean over tokens, as a text classifier does."""
    return text.eval()(ids).mean(dim=1)[:, :4]


cam = LayerDiffGradCam(classify, embedding, layout="swin")
print(cam.attribute(torch.randint(100, (2, 12)), target=3).shape)

# %%
# Waveforms have shape (N, samples). ``InputAttribution`` enlarges the map to that
# shape.

frames = nn.Conv1d(1, 16, 10, stride=5)


def hear(waveform):
    """Return logits of raw audio."""
    return text[1].eval()(frames(waveform[:, None]).transpose(1, 2)).mean(dim=1)[:, :4]


waveform = torch.rand(2, 400)
cam = LayerDiffGradCam(hear, frames)
print(cam.attribute(waveform, target=3).shape)
print(InputAttribution(cam).attribute(waveform, target=3).shape)
cam = LayerDiffGradCam(hear, text[1], layout="swin")
print(cam.attribute(waveform, target=3).shape)

# %%
# Examples in another dimension
# -----------------------------
#
# A layout must return ``(N, channels, *positions)``, with the examples first. A
# callable may move them, as for torch's transformers, which keep tokens before
# examples, (T, N, D). It may also join windows, blocks or frames that the model keeps
# among the examples. Without it an error says how many rows there are.

time_first = nn.TransformerEncoderLayer(16, 2, 32)


def forward(inputs):
    """Return logits of a transformer whose tokens come before the examples."""
    return time_first.eval()(tokens_of(inputs).transpose(0, 1)).mean(dim=0)


def examples_first(tensor):
    """Return (N, D, height, width) from (T, N, D)."""
    return vit_layout(grid=(8, 8))(tensor.transpose(0, 1))


cam = LayerDiffGradCam(forward, time_first, layout=examples_first)
print(cam.attribute(images, target=3).shape)

# %%
# .. warning::
#
#    Some models do not keep tokens row by row. Hiera keeps mask units together before
#    its last stage. ``layout="vit"`` refuses such tokens, and ``vit_layout(grid=...)``
#    would misread them. Hiera has a method that puts them in order, here for block 5 of
#    timm's::
#
#        hiera = timm.create_model("hiera_tiny_224", pretrained=True).eval()
#
#        def in_rows(tensor):
#            return hiera.reroll(tensor, 5).movedim(-1, 1)
#
#        cam = LayerDiffGradCam(hiera, hiera.blocks[5], layout=in_rows)
#
# Several tensors
# ---------------
#
# If a layer returns several tensors, such as attention with its weights,
# ``tensor_index`` chooses one. Otherwise there is a map for each.

weights = nn.MultiheadAttention(16, 2, batch_first=True)


def attend(inputs):
    """Return logits of one layer of attention, which returns its weights, too."""
    tokens = tokens_of(inputs)
    return weights.eval()(tokens, tokens, tokens)[0].mean(dim=1)


cam = LayerDiffGradCam(attend, weights, layout="vit", tensor_index=0)
print(cam.attribute(images, target=3).shape)

# %%
# A list of layers gives a list of maps, from one forward and one backward pass.

cam = LayerDiffGradCam(resnet, ["layer2", "layer3", "layer4"])
print([maps.shape for maps in cam.attribute(torch.rand(2, 3, 224, 224), target=281)])

# %%
# If a layer runs several times in one forward pass, ``run=0`` chooses the first run.
#
# What the model returns
# ----------------------
#
# * Logits (N, C): ``target`` is a class, or one for each example.
# * One logit for each example, or a sigmoid for each label:
#   :doc:`binary_and_multi_label`.
# * Logits with positions or queries: :doc:`segmentation_and_detection`.
# * A dictionary, a tuple or a ``ModelOutput``: pass a function that returns the logits
#   (:doc:`hugging_face_and_timm`).
