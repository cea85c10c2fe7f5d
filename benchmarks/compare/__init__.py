"""Captum's LayerGradCam against DiffGradCAM and DiffGradCAM++ on photographs: maps, agreement, entropy, time.

For every photograph: what the model says, its strongest rivals, and by how much it prefers the target to them. For
every method: the correlation of its signed map with that of the plain method (LayerGradCam; for DiffGradCAM++ plain
Grad-CAM++), the entropy of the map in nats, and the time. Writes compare.json with every number, photographs.csv, the
maps as maps.png and maps-plus-plus.png, and pairwise.png: why this class rather than that one; of many photographs on
several pages. In the folder photographs stand an overlay (.png) and the maps (.npz) of each.
"""
