"""Rule machines: hypothesis invents histories, a plain model says what must come of them.

Derandomised, so that a run can be repeated; `make soak` may raise the number of examples.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "machines",
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
