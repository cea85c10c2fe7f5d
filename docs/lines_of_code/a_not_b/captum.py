from captum.attr import LayerGradCam


def difference(images):
    logits = model(images)
    return logits[:, 281] - logits[:, 285]


maps = LayerGradCam(difference, model.layer4).attribute(images)
