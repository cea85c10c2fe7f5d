from torchcam.explain import explain

maps = explain(model, images).cams
