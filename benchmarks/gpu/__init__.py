"""Maps on a GPU: are they those of the CPU, and what do they cost there?

Runs in one process, with random weights and random images. First every check compares maps of the GPU with those of the
CPU in float32: other precisions, other memory formats, compiled models, DataParallel, recurrent layers. Then methods
take turns, timed until the GPU has finished, and the peak of allocated memory is read. Writes gpu.json, checks.csv and
cost.csv.
"""
