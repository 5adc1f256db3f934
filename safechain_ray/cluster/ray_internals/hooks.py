"""Optional hooks into Ray: the private names that each one needs, checked against the installed Ray.

A private name may change with any release of Ray, and a run must not fail because of it. A hook whose names are missing
is off: one warning names the lost guarantee, and the run continues without the hook.
"""

import importlib
import inspect
import logging
from dataclasses import dataclass
from typing import Any

import ray

logger = logging.getLogger(__name__)

Needs = tuple[tuple[str, str], ...]
"""Pairs of a module and an attribute path in it, such as ("ray.data.context", "DataContext.copy")."""

TESTED_RAY = "2.60.0"

_warned: set[str] = set()
"""Names of the hooks that this process has warned about."""


@dataclass(frozen=True, slots=True)
class Hook:
    """One use of private names of Ray.

    `guarantee` describes what is lost without the hook, as part of the warning. The last part of a path in `needs` may
    be an attribute that the constructor of a class sets.

    Example:
        >>> Hook("copying", "data sets share one context", (("ray.data.context", "DataContext.copy"),)).missing()
        ()
    """

    name: str
    guarantee: str
    needs: Needs

    def missing(self) -> tuple[str, ...]:
        """The needed names that the installed Ray does not have."""
        return tuple(f"{module}.{path}" for module, path in self.needs if not _exists(module, path))

    def is_on(self) -> bool:
        """Whether the installed Ray has all needed names. Logs a warning the first time that one is missing."""
        missing = self.missing()
        if missing and self.name not in _warned:
            _warned.add(self.name)
            logger.warning(
                "Ray %s has no %s. The hook %s is off: %s. Fix: install ray==%s.",
                ray.__version__,
                ", ".join(missing),
                self.name,
                self.guarantee,
                TESTED_RAY,
            )
        return not missing


def _exists(module: str, path: str) -> bool:
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        return False
    for name in path.split("."):
        if hasattr(found, name):
            found = getattr(found, name)
        else:
            return inspect.isclass(found) and path.endswith(f".{name}") and name in _instance_attributes(found)
    return True


def _instance_attributes(owner: type) -> frozenset[str]:
    """The attributes that every instance has: annotated fields, and names that a constructor in the MRO uses."""
    names: set[str] = set()
    for each in owner.__mro__:
        names.update(vars(each).get("__annotations__", {}))
        for constructor in ("__init__", "__post_init__"):
            code = getattr(vars(each).get(constructor), "__code__", None)
            names.update(code.co_names if code else ())
    return frozenset(names)
