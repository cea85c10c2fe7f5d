"""The audit: do the maps of a model show what its predictions depend on?"""

from captum_diffcam.audit.auditing import audit
from captum_diffcam.audit.evidence import MOST_EXCESS, Evidence
from captum_diffcam.audit.report import AuditReport
from captum_diffcam.audit.witness import occlusion_witness

__all__ = ["MOST_EXCESS", "AuditReport", "Evidence", "audit", "occlusion_witness"]
