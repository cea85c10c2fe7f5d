"""Many models of torchvision, timm and Hugging Face: is the right layer found, and is its map right?

Weights are random. Three parts:

choosing: the layer that last_spatial_layer finds and its grid, at two sizes of the input, one of them not square where
the model allows it, against a table written by hand. Writes choosing.json and choosing.csv.

maps: the maps of both methods against the reference implementation, which records the full graph and writes the
formulas out once more. Batch normalization is fitted to noise. The layer is the one that last_spatial_layer finds, and
the last stage for a Swin of torchvision. Models of torchvision and timm only. Writes zoo.json and
zoo.csv.

completeness: whether the positions of contrastive HiResCAM sum to the contrast score, up to what is known beforehand:
biases, and the entropy of the rivals' shares. Required to 1 % of the score where the layers behind are linear, such as
pooling or flattening and a linear layer; reported for all. Models of torchvision and timm only. Writes
completeness.json and completeness.csv.

timm and transformers take part where they are installed (extra ``zoo``).
"""
