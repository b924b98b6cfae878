"""Finding the service that TARGET names: `module:variable`."""

from __future__ import annotations

import importlib
import sys
import traceback
from pathlib import Path

from eventmill.errors import ConfigurationError
from eventmill.sdk.service import Service


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
    except Exception as error:  # user code may raise anything while it is imported
        raise ConfigurationError(_failure(name, error)) from error


def _failure(name: str, error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    last = frames[-1] if frames else None
    place = f" ({last.filename}:{last.lineno})" if last is not None else ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}:{error.lineno})"
    text = error.message if isinstance(error, ConfigurationError) else f"{error}"
    return f"module {name!r} cannot be imported: {type(error).__name__}: {text}{place}"
