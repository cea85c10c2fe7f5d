"""Whether a calibrated map predicts occlusions that it has not seen, and withstands manipulated layers.

choices: Windows and forms of the formula are compared on what no other study reports: the packaged photographs on
EfficientNet-Lite0, and small nets of other seeds, also after attacks. This set the windows.

prediction: Maps of MobileNetV2 and EfficientNet-Lite1 predict how far the log-odds fall when
windows of 2 x 2 and 3 x 3 of 7 x 7 cells are hidden, none of which the calibration used. Compared are the default map,
the calibrated map, the windows alone, and occlusion, RISE and KernelSHAP with as many forward passes. Then the features
are moved by (3, 3) cells, and each map is compared with that of the clean model. What set the windows is measured,
too, and left out of the conclusion.

attacked: Models are trained until maps of their layer show a hoax, or until the calibrated map itself does; and the
attacks of a model's owner are made, as in the benchmark of attacks. Each map is compared with that of the clean model.

tests: Share of the positive map in the target's tile of a mosaic, correlation with the map of the second class, and
fall of the log-odds when what the map ranks highest is removed; for these classifiers and EfficientNet-Lite0.

Each study writes a record, choices.json, calibrated.json, attacked.json and tests.json, and a table. The second has a
figure.
"""
