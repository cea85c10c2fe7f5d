"""SHAM: maps that lie, made on purpose, and the audit that finds them."""

from captum_diffcam.metrics import cam_entropy
from captum_diffcam.sham.audit import audit
from captum_diffcam.sham.evidence import MOST_EXCESS, Evidence
from captum_diffcam.sham.fooling import fool
from captum_diffcam.sham.forgery import Forgery
from captum_diffcam.sham.hoax import hoax_like, hoax_map
from captum_diffcam.sham.inject import inject_hoax
from captum_diffcam.sham.methods import CamMethod
from captum_diffcam.sham.report import AuditReport
from captum_diffcam.sham.witness import occlusion_witness

__all__ = [
    "MOST_EXCESS",
    "AuditReport",
    "CamMethod",
    "Evidence",
    "Forgery",
    "audit",
    "cam_entropy",
    "fool",
    "hoax_like",
    "hoax_map",
    "inject_hoax",
    "occlusion_witness",
]
