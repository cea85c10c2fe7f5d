from torch.nn.functional import interpolate
from torchcam.methods import GradCAM

with GradCAM(model, "layer4") as cam_extractor:
    scores = model(images)
    cams = cam_extractor(scores.argmax(dim=1).tolist(), scores)[0]
heatmap = interpolate(cams[None], (224, 224), mode="bilinear")[0].numpy()
