from captum_diffcam import LayerDiffGradCam, figures

explanation = LayerDiffGradCam(model, "layer4").explain(images)
figures.show_maps(photo, explanation, preprocess=preprocess).savefig("overlay.png")
