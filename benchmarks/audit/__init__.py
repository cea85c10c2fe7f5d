"""How reliable the audit is: whether it contradicts maps that are right, or supports maps that are wrong.

Clean classifiers of Fashion-MNIST that had no part in setting the audit's constants, pooled and flattened, and
MobileNetV2 on photographs are audited on batches of 32 images. So are manipulated
models: a hoax on all images or for one class, a whitewashed shortcut, shifted features, destroyed maps, maps without
the upper half of the object, and attacks that are trained. Each verdict about maps of small images is compared with
exhaustive occlusion. With --model, your own model is audited instead.

Writes audit.json with every verdict, clean.csv and manipulated.csv, and a figure, audit.png.
"""
