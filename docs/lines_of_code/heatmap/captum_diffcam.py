from captum_diffcam import LayerDiffGradCam, figures

explanation = LayerDiffGradCam(model, "layer4").explain(images)
heatmap = figures.heatmap(explanation, size=224)
