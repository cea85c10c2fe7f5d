from captum_diffcam import LayerDiffGradCam, last_spatial_layer

maps = LayerDiffGradCam(model, last_spatial_layer(model, images)).explain(images).maps
