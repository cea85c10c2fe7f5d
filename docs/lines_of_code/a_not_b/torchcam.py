from torchcam.methods import FinerCAM

with FinerCAM(model, "layer4", gamma=1.0) as cam_extractor:
    scores = model(images)
    maps = cam_extractor(281, scores, comparison_idx=[285])[0]
