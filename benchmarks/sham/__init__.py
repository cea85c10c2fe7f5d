"""Maps under attack: which methods withstand passive fooling, and does the audit see it.

Honest models are attacked without training (injection), by fine-tuning toward a hoax (SHAM, Heo et al.), and by an
attacker who knows the contrastive maps. Settings: glyphs on clutter with 10 and with 100 classes, and
EfficientNet-Lite0 with 1000 classes on photographs; each with several seeds, and reported on images that the attacker
never saw.

Writes sham.json with every number, decisions.csv, maps.csv, audit.csv, and a figure of maps for every setting.
"""
