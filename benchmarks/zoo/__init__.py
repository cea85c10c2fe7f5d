"""Every classifier of torchvision: does the map agree with one made the long way round?

Random weights, batch normalisation fitted to noise, and a head that is not zero. The layer: for a ViT the normalisation
before the last attention, for a Swin its last stage, for any other model the last feature map. The long way records the
whole graph and writes the formulas out once more. Writes zoo.json and zoo.csv.
"""
