from captum.attr import LayerGradientXActivation

target = model(images).argmax(dim=1)
layer = model.encoder.layers[-1].ln_1
tokens = LayerGradientXActivation(model, layer).attribute(images, target)
maps = tokens[:, 1:].sum(dim=2).reshape(-1, 1, 14, 14)
