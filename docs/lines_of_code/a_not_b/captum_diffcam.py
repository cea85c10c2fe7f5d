from captum_diffcam import LayerDiffGradCam

maps = LayerDiffGradCam(model, "layer4").attribute(images, target=281, contrast=285)
