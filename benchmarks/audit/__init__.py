"""How reliable the audit is: whether it contradicts maps that are right, or supports maps that are wrong.

Clean classifiers that had no part in setting the audit's constants are audited on batches of 32 images: of
Fashion-MNIST (pooled, flattened, a vision transformer), textile images, cut-outs, photographs and rotated pages. So are
manipulated models: a hoax on all images or for some, a whitewashed shortcut, shifted features, destroyed maps, and maps
without the upper half of the object. Some attacks are trained, and some know the audit. Verdicts are compared with
exhaustive occlusion, of few images where these are large. With --model, your own model is audited instead.

Writes audit.json with every verdict, clean.csv and manipulated.csv, and a figure, audit.png.
"""
