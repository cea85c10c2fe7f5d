from pytorch_grad_cam import FinerCAM
from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget

with FinerCAM(model=model, target_layers=[model.layer4]) as cam:
    maps = cam(input_tensor=images, targets=[FinerWeightedTarget(281, [285], alpha=1)])
