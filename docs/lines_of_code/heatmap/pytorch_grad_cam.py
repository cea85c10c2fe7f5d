from pytorch_grad_cam import GradCAM

with GradCAM(model=model, target_layers=[model.layer4]) as cam:
    heatmap = cam(input_tensor=images, targets=None)
