"""The audit: do the maps of a model show what its predictions depend on?"""

from captum_diffcam.audit.auditing import audit
from captum_diffcam.audit.report import AuditReport
from captum_diffcam.audit.statistics import EXCESS_LIMIT, Evidence

__all__ = ["EXCESS_LIMIT", "AuditReport", "Evidence", "audit"]
