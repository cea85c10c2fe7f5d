"""The audit: do the maps of a model show what its predictions depend on?"""

from captum_diffcam.audit.auditing import audit, audit_maps
from captum_diffcam.audit.report import AuditReport, MethodResult
from captum_diffcam.audit.statistics import Estimate, Measures

__all__ = ["AuditReport", "Estimate", "Measures", "MethodResult", "audit", "audit_maps"]
