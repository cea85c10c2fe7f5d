"""Time and peak memory of maps, compared with a bare forward pass, LayerGradCam and two other libraries.

Four jobs are measured: a map of a given class; the prediction and its map; the prediction and a map against each of its
five strongest rivals; and the prediction with maps at three layers. A method that must be told the class runs the model
once more to get the prediction. A fifth part shows how the cost grows with image size, classes and rivals.

Time: every model and job runs in its own process, where the methods take turns. A time is the median over rounds, a
ratio the median over rounds of the ratio within a round. Methods that run the model many times take one turn. With one
thread, seconds are CPU time, which other work on the machine hardly affects. The targets are for batches, except that
of a single image through a small model. Memory: the peak above the loaded model and its input (on the CPU resident
memory, where Linux reports it). It is the median of five processes for each method. The models have random weights,
because cost does not depend on them.

Writes cost.json with every number, time.csv, targets.csv and cost.png. The extra "peers" installs the other libraries,
pytorch-grad-cam and torchcam. A run takes about half an hour on one core.
"""
