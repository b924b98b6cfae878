"""Finding the service that TARGET names: `module:variable`."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType

from eventmill.errors import ConfigurationError
from eventmill.sdk.service import Service

_OURS = str(Path(__file__).parents[2]) + os.sep
"""Our own code: a frame there is not where the user has to look."""

FILES_LOOKED_AT = 200
"""For a service that could be meant."""

_MADE = re.compile(r"^(\w+)(?:: *\w+)? *= *(?:eventmill\.)?Service\(", re.MULTILINE)


def load(target: str) -> Service:
    """Import a service; the variable is `service` if none is named.

    Raises `ConfigurationError` that says what is missing.
    """
    module_name, _, variable = target.partition(":")
    if module_name.endswith(".py") or "/" in module_name or module_name.startswith("."):
        raise ConfigurationError(_not_a_file(module_name, variable or "service"))
    if not module_name:
        raise ConfigurationError(
            f"TARGET {target!r} names no module: write module:variable{_candidates()}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    module = _imported(module_name)
    found = getattr(module, variable or "service", None)
    if isinstance(found, Service):
        return found
    services = [name for name, value in vars(module).items() if isinstance(value, Service)]
    if services:
        hint = f"; it has {', '.join(f'{module_name}:{name}' for name in services)}"
    elif isinstance(found, ModuleType):
        hint = f", it is a module: use {module_name}.{variable or 'service'}"
    else:
        hint = f"; it defines no Service{_candidates()}"
    raise ConfigurationError(f"{module_name}:{variable or 'service'} is no Service{hint}")


def _not_a_file(name: str, variable: str) -> str:
    """Say which module is meant by a file, and where to run it."""
    file = Path.cwd() / (name if name.endswith(".py") else f"{name}.py")
    file = Path(os.path.normpath(file))
    if not file.is_file():
        return f"TARGET names a module, not a file, and there is no {name}{_candidates()}"
    project = file.parent
    while (project / "__init__.py").is_file():
        project = project.parent
    if file.is_relative_to(Path.cwd()):
        return f"TARGET names a module, not a file: use {_dotted(file, Path.cwd())}:{variable}"
    folder = os.path.relpath(project)
    return (
        f"TARGET names a module of the folder you are in, not a file: cd {folder}, then use "
        f"{_dotted(file, project)}:{variable}"
    )


def _dotted(file: Path, folder: Path) -> str:
    parts = file.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _candidates() -> str:
    """Name what could be meant: the modules here that make a service."""
    here, found = Path.cwd(), list[str]()
    for file in sorted([*here.glob("*.py"), *here.glob("*/*.py")])[:FILES_LOOKED_AT]:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            made = _MADE.search(file.read_text())
            if made is not None and "site-packages" not in file.parts:
                found.append(f"{_dotted(file, here)}:{made[1]}")
    return f"; here is {', '.join(found)}" if found else ""


def _imported(name: str) -> object:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigurationError(_missing(name, error.name)) from error
        raise ConfigurationError(_failure(name, error)) from error
    except (Exception, SystemExit) as error:  # user code may raise anything while it is imported
        raise ConfigurationError(_failure(name, error)) from error


def _missing(name: str, missing: str) -> str:
    parent, _, last = name.rpartition(".")
    if parent and isinstance(getattr(sys.modules.get(parent), last, None), Service):
        return f"{name} is no module, but a Service in one: use {parent}:{last}"
    return (
        f"no module {missing!r} here ({Path.cwd()}): run this in the project's folder, and name "
        f"the service as module:variable{_candidates()}"
    )


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
