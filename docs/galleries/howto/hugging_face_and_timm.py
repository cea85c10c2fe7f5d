"""
Explain models of Hugging Face and timm
=======================================

You learn which line returns the logits of a model of either library, which layer to
explain, and which layout it needs. The layout says where a layer keeps channels and
positions.

.. list-table::
   :class: wrapping
   :header-rows: 1
   :widths: 24 38 38

   * -
     - timm
     - Hugging Face
   * - logits
     - ``model`` itself
     - a function that returns ``model(pixels).logits``
   * - layer and layout
     - ``last_spatial_layer(model, images)``
     - ``last_spatial_layer(logits_of, images)``
   * - preprocessing
     - ``preprocess=`` takes ``timm.data.create_transform(...)``
     - ``preprocess=`` takes the image processor

Without a line of Python, ``captum-diffcam explain --model timm/convnext_tiny`` and
``--model hf/google/vit-base-patch16-224`` explain a folder of images.
"""

# %%
# Which line gives logits
# -----------------------
#
# A model of timm returns a tensor of logits, so it is passed as it is. A model of
# Hugging Face returns a ``ModelOutput``, and the error for that says what to write.
# Here with a stand-in, a small vision transformer:

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from captum_diffcam import LayerDiffGradCam, last_spatial_layer


@dataclass
class ModelOutput:
    """What models of transformers return, in short."""

    logits: Tensor
    hidden_states: tuple | None = None


class SmallViT(nn.Module):
    """A vision transformer for images of 64 x 64 pixels."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 32, 8, stride=8)
        self.token = nn.Parameter(torch.zeros(1, 1, 32))
        block = {"d_model": 32, "nhead": 2, "dim_feedforward": 64}
        block |= {"batch_first": True, "norm_first": True}
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(**block) for _ in "123")
        self.head = nn.Linear(32, 10)

    def forward(self, pixels):
        """Return logits (N, 10) in a container."""
        patches = self.embed(pixels).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(pixels), 1, 32), patches], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return ModelOutput(logits=self.head(tokens[:, 0]))


torch.manual_seed(0)
model = SmallViT().eval()
images = torch.rand(2, 3, 64, 64)
try:
    LayerDiffGradCam(model, "blocks.2.norm1", layout="vit").explain(images)
except TypeError as error:
    print(error)

# %%
# The function refers to the model by name, so layers can still be given by their names
# in the model:


def logits_of(pixels):
    """Return the logits of the model, (N, C)."""
    return model(pixels).logits


cam = LayerDiffGradCam(logits_of, "blocks.2.norm1", layout="vit")
print(cam.explain(images))

# %%
# Which layer, and which layout
# -----------------------------
#
# If you do not know, ``last_spatial_layer`` runs the model once and returns layer and
# layout together:

layer = last_spatial_layer(logits_of, images)
print(layer)
print(LayerDiffGradCam(logits_of, layer).attribute(images, target=3).shape)

# %%
# What it finds, for families that both libraries have (names of transformers 5; earlier
# versions say ``vit.encoder.layer``):
#
# .. list-table::
#    :class: wrapping
#    :header-rows: 1
#    :widths: 22 30 34 14
#
#    * - Family
#      - timm
#      - Hugging Face
#      - ``layout``
#    * - ResNet
#      - ``layer4``
#      - ``resnet.encoder.stages[-1]``
#      - none
#    * - ConvNeXt
#      - ``norm_pre``
#      - ``convnext.encoder.stages[-1]``
#      - none
#    * - ViT, DeiT
#      - ``blocks[-1].norm1``
#      - ``vit.layers[-1].layernorm_before``
#      - ``"vit"``
#    * - Swin
#      - ``norm``
#      - ``swin.layernorm``
#      - ``"swin"``, ``"vit"``
#
# Layers of convolutions need no layout. ``"vit"`` is for tokens (N, T, D), with or
# without a class token; ``"swin"`` is for (N, H, W, D). :doc:`layers` has more.
#
# With random weights
# -------------------
#
# Where timm or transformers are installed, this page runs small models of theirs.

FOUND = "{:10} {:28} layout {!s:5} maps {}"

if find_spec("timm"):
    import timm

    for name, options in {
        "resnet18": {},
        "convnext_atto": {},
        "vit_tiny_patch16_224": {"img_size": 64, "depth": 3},
        "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2},
    }.items():
        model = timm.create_model(name, pretrained=False, **options).eval()
        layer = last_spatial_layer(model, images)
        maps = LayerDiffGradCam(model, layer).attribute(images, target=3)
        kind = name.partition("_")[0]
        print(FOUND.format(kind, layer.name, layer.layout, tuple(maps.shape)))

# %%
# The same for Hugging Face, each by the one function above:

if find_spec("transformers"):
    import transformers as hf

    tokens = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    tokens |= {"num_hidden_layers": 3, "image_size": 64, "patch_size": 8}
    swin = {"image_size": 64, "embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2]}
    stages = {"hidden_sizes": [16, 32], "depths": [1, 1]}
    for config in (
        hf.ResNetConfig(embedding_size=16, **stages),
        hf.ConvNextConfig(num_stages=2, **stages),
        hf.ViTConfig(**tokens),
        hf.SwinConfig(window_size=4, **swin),
    ):
        model = hf.AutoModelForImageClassification.from_config(config).eval()
        layer = last_spatial_layer(logits_of, images)
        maps = LayerDiffGradCam(logits_of, layer).attribute(images, target=1)
        kind = config.model_type
        print(FOUND.format(kind, layer.name, layer.layout, tuple(maps.shape)))

# %%
# Figures
# -------
#
# ``preprocess`` takes the transform of either library, reads the mean and the standard
# deviation from it, and draws the maps over photographs of any size:
#
# .. code-block:: python
#
#    # timm
#    settings = timm.data.resolve_model_data_config(model)
#    preprocess = timm.data.create_transform(**settings, is_training=False)
#    explanation = cam.explain(preprocess(photograph)[None])
#
#    # Hugging Face
#    preprocess = AutoImageProcessor.from_pretrained(name)
#    pixels = preprocess(photograph, return_tensors="pt")["pixel_values"]
#    explanation = cam.explain(pixels)
#
#    names = model.config.id2label
#    show_maps(photograph, explanation, classes=names, preprocess=preprocess)
