"""Time and peak memory of maps, beside a bare forward, LayerGradCam and two other libraries, and how they grow.

Four jobs: a map of a class that is given; to classify and explain the prediction; the same against its five strongest
rivals, with a map for each; and at three layers. Who must be told the class beforehand runs the model once more for it.
Methods take turns within one run, in a process of its own for each model and job; a time is the median over rounds, a
ratio the median over rounds of the ratio within the round; who runs the model many times takes one turn. Targets are
for batches, and single images are said beside them. With one thread it is the time of the CPU, which others on the
machine hardly lengthen. Memory is the peak over that of the loaded model and its input, of each method in a process of
its own (on the CPU of resident memory, where Linux tells it). Models have random weights: cost does not depend on them.
Writes cost.json with every number, time.csv, targets.csv and cost.png. The peers, pytorch-grad-cam and torchcam, come
with the extra "peers". About 17 minutes on one core.
"""
