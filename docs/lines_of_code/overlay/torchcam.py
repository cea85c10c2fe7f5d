from torchcam.explain import explain

result = explain(model, images, target_layer="layer4")
result.save("overlay", photo)
