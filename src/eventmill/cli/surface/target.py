"""Finding the service that TARGET names: `module:variable`."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from pathlib import Path

from eventmill.errors import ConfigurationError
from eventmill.sdk.service import Service

_OURS = str(Path(__file__).parents[2]) + os.sep
"""Our own code: a frame there is not where the user has to look."""


def load(target: str) -> Service:
    """Import a service; the variable is `service` if none is named.

    Raises `ConfigurationError` that says what is missing.
    """
    module_name, _, variable = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name:
        dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
        raise ConfigurationError(
            f"TARGET names a module, not a file: use {dotted}:{variable or 'service'}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _imported(module_name)
    found = getattr(module, variable or "service", None)
    if isinstance(found, Service):
        return found
    services = [name for name, value in vars(module).items() if isinstance(value, Service)]
    hint = (
        f"it has {', '.join(f'{module_name}:{name}' for name in services)}"
        if services
        else "it defines no Service"
    )
    raise ConfigurationError(f"{module_name}:{variable or 'service'} is no Service; {hint}")


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(
                f"no module {error.name!r} here ({Path.cwd()}): run this in the project's folder, "
                "and name the service as module:variable"
            ) from error
        raise ConfigurationError(_failure(name, error)) from error
    except (Exception, SystemExit) as error:  # user code may raise anything while it is imported
        raise ConfigurationError(_failure(name, error)) from error


def _failure(name: str, error: BaseException) -> str:
    """Say what is wrong where in the user's code: a traceback would mostly show ours."""
    text = error.message if isinstance(error, ConfigurationError) else _text(error)
    return f"module {name!r} cannot be imported: {text}{_place(error)}"


def _text(error: BaseException) -> str:
    kind = type(error).__name__
    detail = (error.msg if isinstance(error, SyntaxError) else str(error)).strip()
    return f"{kind}: {detail}" if detail else kind


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError):  # it has no frame: the file never ran
        return _shown(error.filename or "?", error.lineno or 0, error.text or "")
    frames = traceback.extract_tb(error.__traceback__)
    users = [f for f in frames if not f.filename.startswith((_OURS, "<"))]
    near = [f for f in users if _is_project(f.filename)]
    for frame in reversed(near or users):
        return _shown(frame.filename, frame.lineno or 0, frame.line or "")
    return ""


def _shown(file: str, line: int, source: str) -> str:
    path = Path(file)
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"\n  {shown}:{line}\n    {source.strip()}"


def _is_project(file: str) -> bool:
    path = Path(file)
    return path.is_relative_to(Path.cwd()) and "site-packages" not in path.parts
