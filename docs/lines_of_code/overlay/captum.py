import numpy as np
from captum.attr import LayerAttribution, LayerGradCam, visualization

target = model(images).argmax(dim=1)
maps = LayerGradCam(model, model.layer4).attribute(images, target)
large = LayerAttribution.interpolate(maps, photo.size[::-1], "bilinear")
figure, _ = visualization.visualize_image_attr(
    large[0].permute(1, 2, 0).detach().numpy(),
    np.asarray(photo),
    method="blended_heat_map",
    sign="all",
    use_pyplot=False,
)
figure.savefig("overlay.png")
