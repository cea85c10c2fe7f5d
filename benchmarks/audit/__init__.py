"""How reliable the audit is: how often it accuses clean models, and whether it detects manipulated ones.

Clean models that had no part in setting the audit's constants are audited on batches of 16 images: EfficientNet-Lite0
and Lite1 on photographs and on cut-outs, and classifiers of Fashion-MNIST and of glyphs of several architectures.
Manipulated models are audited on 32 images: SHAM, the losses of Heo et al., adaptive attacks, injection, hand-made
attacks, and attacks on occlusion. With --model, your own model is audited instead.

Writes audit.json with every audit, clean.csv and manipulated.csv, and a figure, audit.png.
"""
