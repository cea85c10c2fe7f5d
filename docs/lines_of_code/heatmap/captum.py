from captum.attr import LayerAttribution, LayerGradCam

target = model(images).argmax(dim=1)
cam = LayerGradCam(model, model.layer4)
maps = cam.attribute(images, target, relu_attributions=True)
large = LayerAttribution.interpolate(maps, (224, 224), "bilinear")
heatmap = (large / large.amax(dim=(1, 2, 3), keepdim=True))[:, 0].detach().numpy()
