"""What is asked of a method: a map of a class that is given, or to classify and explain, in three forms."""

from __future__ import annotations

from benchmarks.common.names import DIFF, GRAD_CAM

MAP, EXPLAIN, RIVALS, LAYERS = "map", "explain", "rivals", "layers"
JOBS = {
    MAP: "a map of a class that is given",
    EXPLAIN: "classify, and explain the prediction",
    RIVALS: "the same against the five strongest rivals, a map for each",
    LAYERS: "classify, and explain the prediction at three layers",
}
FORWARD = "forward"
EARLIEST = f"{DIFF}, first"
"""What three layers are compared with, the earliest of them alone."""
STRONGEST = 5
"""So many rivals are asked for."""


def is_measured(method: str, job: str, *, at_input: bool = False) -> bool:
    """Whether a method can do the job. Peers have no way to ask for a layer's input.

    pytorch-grad-cam runs the model anew for every map; six runs of it tell nothing that one does not.
    """
    if at_input:
        return method in (FORWARD, GRAD_CAM, DIFF)
    if method == EARLIEST:
        return job == LAYERS
    if job == RIVALS and method == "pytorch-grad-cam":
        return False
    # To DiffGradCAM++ all jobs but the weighting are what they are to DiffGradCAM.
    return job == MAP or not method.endswith("++")


def is_slow(method: str, job: str) -> bool:
    """Whether the method runs or records so much more than a forward that one turn tells enough of it."""
    return method == "pytorch-grad-cam" or (method == GRAD_CAM and job != MAP)
