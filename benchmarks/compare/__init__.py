"""Captum's LayerGradCam against DiffGradCAM and DiffGradCAM++ on photographs: maps, agreement, entropy, time.

For every photograph: the prediction, its strongest rivals, and its margins over them. For every method: the correlation
of its signed map with that of the plain method (LayerGradCam; for DiffGradCAM++ plain Grad-CAM++), the entropy of the
map in nats, and the time.

Without options, MobileNetV2 is measured too if its weights are installed; tables and figures show EfficientNet-Lite0.

Writes compare.json with every number and photographs.csv; maps.png and maps-plus-plus.png with the maps; pairwise.png
with maps against each rival (many photographs take several pages). The folder photographs has an overlay (.png) and
the maps (.npz) of each photograph.
"""
