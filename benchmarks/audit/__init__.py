"""Is the audit right: how often it accuses honest models, and whether it finds forged ones.

Honest models that had no part in setting its constants are audited on batches of 16 images: EfficientNet-Lite0 and
Lite1 on photographs and on cut-outs, and classifiers of Fashion-MNIST and of glyphs of several architectures. Forged
ones are audited on 32 images: SHAM, the losses of Heo et al., adaptive attacks, injection, and attackers who know the
witness.
With --model one's own model is audited instead.

Writes audit.json with every audit, clean.csv and manipulated.csv, and a figure.
"""
