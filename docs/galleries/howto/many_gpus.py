r"""
Explain a data set on many GPUs
===============================

You get one report about a folder of images from as many processes as you have GPUs.
``torchrun`` starts the processes, and ``captum-diffcam explain`` gives each of them its
share of the images:

.. code-block:: bash

   # one process
   captum-diffcam explain --images photos/ --model resnet50 --out report/

   # eight GPUs of one machine
   torchrun --standalone --nproc-per-node 8 -m captum_diffcam \
       explain --images photos/ --model resnet50 --out report/

   # four machines with eight GPUs each: start this line on every one of them
   torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d \
       --rdzv-endpoint first-machine:29500 -m captum_diffcam \
       explain --images /shared/photos/ --model resnet50 --out /shared/report/

All machines must see the same folder of images and the same output folder.
"""

# %%
# A small run
# -----------
#
# This page runs the first line with three photographs and the model that comes with
# the extra ``demo``. With ``torchrun`` the report is the same, apart from the number of
# processes in the manifest.

import json
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import skimage.data

photographs = Path(skimage.data.__file__).parent
images = [photographs / name for name in ("chelsea.png", "coffee.png", "rocket.jpg")]
report = Path(mkdtemp()) / "report"
command = [sys.executable, "-m", "captum_diffcam", "explain"]
command += ["--images", *map(str, images), "--out", str(report), "--workers", "0"]
finished = subprocess.run(command, capture_output=True, text=True)
print(finished.stdout.replace(str(report), "report"))
print("exit code", finished.returncode)

# %%
# The manifest has one entry for each image, in the order of the folder, whichever
# process explained it.

manifest = json.loads((report / "manifest.json").read_text())
print(f"{manifest['explained']} images by {manifest['processes']} process(es)")
for image in manifest["images"]:
    prediction = image["prediction"]
    print(f"{image['file']}: {prediction['name']} {prediction['probability']:.2f}")

# %%
# How the work is shared
# ----------------------
#
# * Process *k* of *n* explains the images *k*, *k + n*, *k + 2n* and so on, on the GPU
#   that ``torchrun`` assigns to it.
# * Each process writes the overlays and maps of its own images. The last process to
#   finish writes the page and the manifest.
# * An image that cannot be read is skipped and named in the page. The exit code is then
#   3 instead of 0. ``torchrun`` prints that code and itself returns 1.
# * If a process is interrupted, the others stop too. What is finished is kept, and the
#   page says how many images are missing.
#
# In a script of your own
# -----------------------
#
# An attribution knows nothing of other processes. If you have a data set and a training
# script that already run under ``torchrun``, keep their ``DistributedSampler`` and call
# ``explain`` on each batch:
#
# .. code-block:: python
#
#    sampler = DistributedSampler(data, shuffle=False)
#    cam = LayerDiffGradCam(model, "layer4")
#    for step, (images, _) in enumerate(DataLoader(data, 32, sampler=sampler)):
#        maps, classes, *_ = cam.explain(images.to(device))
#        torch.save((maps.cpu(), classes.cpu()), f"maps-{rank}-{step}.pt")
#
# A ``DistributedSampler`` repeats a few images so that all shares have the same size.
#
# An audit (:doc:`audit`) judges the model and not each image. It needs a few dozen
# images, so one process is enough.
