"""Reading a service, and every problem in it, without anything that serves.

`eventmill check` needs no more than this: what a node is made of costs a second to import.
"""

from __future__ import annotations

from eventmill.engine.views.definition import compile_view
from eventmill.errors import ConfigurationError
from eventmill.model.definition import ServiceDefinition
from eventmill.sdk.service import Service


def examined(service: Service) -> tuple[ServiceDefinition, list[str]]:
    """Read a service; return what was understood and every problem found, each with its place."""
    definition, found = service.define()
    for view in definition.views.values():
        try:
            compile_view(view)
        except ConfigurationError as error:
            found += error.details.get("problems", [error.message])
    return definition, found


def checked(service: Service) -> ServiceDefinition:
    """Read a service that shall run.

    Raises `ConfigurationError` that lists every problem.
    """
    definition, found = examined(service)
    if found:
        lines = "\n".join(f"  - {problem}" for problem in found)
        number = "1 problem" if len(found) == 1 else f"{len(found)} problems"
        raise ConfigurationError(
            f"service {service.name!r} has {number}:\n{lines}", details={"problems": found}
        )
    return definition
