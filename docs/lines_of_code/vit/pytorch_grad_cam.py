from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.reshape_transforms import vit_reshape_transform

layers = [model.encoder.layers[-1].ln_1]
with GradCAM(model, layers, reshape_transform=vit_reshape_transform) as cam:
    maps = cam(input_tensor=images, targets=None)
