"""Every classifier of torchvision, and many of timm: does the map agree with one made the long way round?

Random weights, batch normalisation fitted to noise, and a head that is not zero. The layer: for a ViT the normalisation
before the last attention, for a Swin its last stage, for any other model of torchvision the last feature map. Models of
timm are of many families, where it is installed (extra ``zoo``), and the layer is the one that ``last_spatial_layer``
finds. The long way records the whole graph and writes the formulas out once more. Writes zoo.json and zoo.csv.
"""
