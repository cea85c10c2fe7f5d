from torchcam.methods import LeGrad

with LeGrad(model, list(model.encoder.layers)[-4:]) as cam_extractor:
    scores = model(images)
    maps = cam_extractor(scores[0].argmax().item())[0]
