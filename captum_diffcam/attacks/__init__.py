"""Attacks on class activation maps: models whose maps mislead while their predictions stay the same."""

from captum_diffcam.attacks.fooling import fool
from captum_diffcam.attacks.hoax import hoax_like, hoax_map
from captum_diffcam.attacks.inject import inject_hoax
from captum_diffcam.attacks.manipulated import ManipulatedModel
from captum_diffcam.attacks.shift import shift_features

__all__ = ["ManipulatedModel", "fool", "hoax_like", "hoax_map", "inject_hoax", "shift_features"]
