"""Laws here write files, and disks are slow at times: only a wrong answer may fail them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("disks", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("disks")
