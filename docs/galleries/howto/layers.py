"""
Choose a layer, token layers included
=====================================

The last layer with positions is the usual choice: ``model.layer4`` of a ResNet,
``model.features`` of a DenseNet or a ConvNeXt. An earlier one gives a finer map of less
that the decision rests on. :doc:`/results/zoo` names a layer for every classifier of
torchvision.

The models on this page are small and have random weights: there is nothing to look at,
only shapes.
"""

# %%
# Any number of positions
# -----------------------
#
# Along a time series, in an image, in a volume. With ``attribute_to_layer_input=True``
# it is what goes into the layer that is explained.

import torch
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer, resnet18

from captum_diffcam import InputAttribution, LayerDiffGradCam, vit_layout

resnet = resnet18().eval()
cam = LayerDiffGradCam(resnet, resnet.layer4)
print(cam.attribute(torch.rand(2, 3, 224, 224), target=281).shape)

convolution = nn.Conv1d(1, 8, 5)
head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3))
series = nn.Sequential(convolution, nn.ReLU(), head)
cam = LayerDiffGradCam(series, convolution)
print(cam.attribute(torch.rand(2, 1, 100), target=0).shape)

# %%
# Vision transformers
# -------------------
#
# Their layers keep channels last: tokens (N, T, D). Read as a convolution's, features
# would be averaged and tokens weighed; Captum's LayerGradCam does so without a word,
# our default warns. The layout is part of the constructor. Class and register tokens,
# which come first, are left out: they have no position.

size = {"num_layers": 3, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
vit = VisionTransformer(image_size=64, patch_size=8, **size).eval()
nn.init.normal_(vit.heads.head.weight)
images = torch.rand(2, 3, 64, 64)
last = vit.encoder.layers[-1]
cam = LayerDiffGradCam(vit, last.ln_1, layout="vit")
print(cam.attribute(images, target=3).shape)

# %%
# Behind the attention of the last block only the class token reaches the output, so no
# patch has a gradient there. The error says which layer to take instead.

try:
    LayerDiffGradCam(vit, last, layout="vit").attribute(images, target=3)
except ValueError as error:
    print(error)

# %%
# The grid is the one that the run itself makes. The patch embedding puts out rows and
# columns, and they are followed to the layer's tokens. This holds for inputs of any
# size, padded or resized inside of the model, for overlapping patches, and for video.
# Here 4 x 8 patches of 8 x 8 pixels behind a class token:


embed, token = nn.Conv2d(3, 16, 8, stride=8), torch.randn(1, 1, 16)
norm = nn.LayerNorm(16)
attention = nn.MultiheadAttention(16, 2, batch_first=True)


def tokens_of(inputs):
    """The patches of images of any size."""
    return embed(inputs).flatten(2).transpose(1, 2)


def patches(inputs):
    """Logits of a small transformer from its class token."""
    tokens = torch.cat([token.expand(len(inputs), 1, 16), tokens_of(inputs)], dim=1)
    tokens = norm(tokens)
    return attention.eval()(tokens, tokens, tokens)[0][:, 0]


cam = LayerDiffGradCam(patches, norm, layout="vit")
print(cam.attribute(torch.rand(2, 3, 32, 64), target=3).shape)

# %%
# If the run does not show the grid, the error asks for it: after operations that move
# tokens, for learned queries, in TorchScript, and in the threads of ``DataParallel``.
# For video the grid has three numbers. The patches are then the last tokens.

cam = LayerDiffGradCam(patches, norm, layout=vit_layout(grid=(4, 8)))
print(cam.attribute(torch.rand(2, 3, 32, 64), target=3).shape)
print(vit_layout(grid=(8, 7, 7))(torch.zeros(2, 1 + 8 * 7 * 7, 16)).shape)

# %%
# A Swin keeps channels last, (N, H, W, D), and anything else can be said with a
# function that reorders:

swin = SwinTransformer([4, 4], 24, [1, 1], [2, 2], [4, 4], num_classes=10).eval()
for layout in ("swin", lambda tensor: tensor.movedim(-1, 1)):
    cam = LayerDiffGradCam(swin, swin.features, layout=layout)
    print(cam.attribute(images, target=3).shape)

# %%
# Text and audio
# --------------
#
# The layers of a BERT or a wav2vec are (N, T, D), channels last: ``layout="swin"``
# reads sequences of any length. The map has a value for each token or frame. Ids are
# integers and have no gradient, the layer's output has.

embedding = nn.Embedding(100, 16)
block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
text = nn.Sequential(embedding, block)


def classify(ids):
    """Logits from the mean over tokens, as a text classifier returns them."""
    return text.eval()(ids).mean(dim=1)[:, :4]


cam = LayerDiffGradCam(classify, embedding, layout="swin")
print(cam.attribute(torch.randint(100, (2, 12)), target=3).shape)

# %%
# Waveforms come as (N, samples). ``InputAttribution`` stretches the map over them.

frames = nn.Conv1d(1, 16, 10, stride=5)


def hear(waveform):
    """Logits of raw audio."""
    return text[1].eval()(frames(waveform[:, None]).transpose(1, 2)).mean(dim=1)[:, :4]


waveform = torch.rand(2, 400)
cam = LayerDiffGradCam(hear, frames)
print(cam.attribute(waveform, target=3).shape)
print(InputAttribution(cam).attribute(waveform, target=3).shape)
cam = LayerDiffGradCam(hear, text[1], layout="swin")
print(cam.attribute(waveform, target=3).shape)

# %%
# Examples elsewhere
# ------------------
#
# What counts is ``(N, channels, *positions)`` in the end, with the examples of the
# batch in front. A callable may move them, as for torch's transformers, which keep
# tokens before examples, (T, N, D); and it may join windows, blocks or frames that the
# model has put among the examples. Without it the error says how many rows there are.

time_first = nn.TransformerEncoderLayer(16, 2, 32)


def forward(inputs):
    """Logits of a transformer whose tokens come before the examples."""
    return time_first.eval()(tokens_of(inputs).transpose(0, 1)).mean(dim=0)


def examples_first(tensor):
    """From (T, N, D) to (N, D, height, width)."""
    return vit_layout(grid=(8, 8))(tensor.transpose(0, 1))


cam = LayerDiffGradCam(forward, time_first, layout=examples_first)
print(cam.attribute(images, target=3).shape)

# %%
# .. warning::
#
#    Some models keep tokens in another order than row by row. Hiera does before its
#    last stage, because it keeps mask units together. ``layout="vit"`` refuses such
#    tokens, and ``vit_layout(grid=...)`` would misread them. Hiera's own module puts
#    them back, here for block 5 of timm's::
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
# Of a layer that returns several tensors, attention with its weights, say, one can be
# chosen; otherwise there is a map for each.

weights = nn.MultiheadAttention(16, 2, batch_first=True)


def attend(inputs):
    """Logits of one layer of attention, which returns its weights, too."""
    tokens = tokens_of(inputs)
    return weights.eval()(tokens, tokens, tokens)[0].mean(dim=1)


cam = LayerDiffGradCam(attend, weights, layout="vit", tensor_index=0)
print(cam.attribute(images, target=3).shape)

# %%
# A list of layers gives a list of maps, from one forward and one backward pass.

cam = LayerDiffGradCam(resnet, [resnet.layer2, resnet.layer3, resnet.layer4])
print([maps.shape for maps in cam.attribute(torch.rand(2, 3, 224, 224), target=281)])

# %%
# What a model returns
# --------------------
#
# * Logits (N, C): ``target`` is a class, or one per example.
# * One number per example, (N,) or (N, 1): the logit of a binary model is the log-odds
#   already. ``target`` is None, and there is nothing to contrast it with.
# * Logits (N, C, H, W) of a segmentation: ``target=(class, row, column)``, contrasted
#   at that position. A whole region takes a function around the model, whose reduction
#   is yours.
# * A dictionary or a tuple: a function picks the logits.

features = nn.Conv2d(3, 8, 3, padding=1)
segmentation = nn.Sequential(features, nn.ReLU(), nn.Conv2d(8, 21, 1)).eval()
cam = LayerDiffGradCam(segmentation, features)
print(cam.attribute(images, target=(15, 40, 20)).shape)

mask = torch.zeros(64, 64, dtype=torch.bool)
mask[30:50, 10:30] = True


def region(inputs):
    """The mean logits over the region, from (N, C, H, W) to (N, C)."""
    return segmentation(inputs)[..., mask].mean(-1)


print(LayerDiffGradCam(region, features).attribute(images, target=15).shape)


def from_dictionary(inputs):
    """The logits out of what torchvision's segmentation models return."""
    return {"out": segmentation(inputs)}["out"]


cam = LayerDiffGradCam(from_dictionary, features)
print(cam.attribute(images, target=(15, 40, 20)).shape)
