import numpy as np
from PIL import Image
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import show_cam_on_image

with GradCAM(model=model, target_layers=[model.layer4]) as cam:
    grayscale_cam = cam(input_tensor=images, targets=None)
mask = Image.fromarray(grayscale_cam[0]).resize(photo.size)
pixels = np.float32(photo) / 255
visualization = show_cam_on_image(pixels, np.asarray(mask), use_rgb=True)
Image.fromarray(visualization).save("overlay.png")
