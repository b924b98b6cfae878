"""Every bound of the platform, in one place, each with its reason.

A value beyond a bound gets a clear error (`TooLarge`, `Overloaded`) or is parked; nothing grows
without end. Relations between the bounds are asserted by `tests/unit/model/test_limits.py`.
"""

from eventmill.model.limits.edge import *  # noqa: F403
from eventmill.model.limits.node import *  # noqa: F403
from eventmill.model.limits.others import *  # noqa: F403
from eventmill.model.limits.stored import *  # noqa: F403
from eventmill.model.limits.views import *  # noqa: F403
