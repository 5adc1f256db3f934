"""The packages that a training takes beside the project's own: asked for before anything starts.

They are looked for where the driver runs; its nodes are to have the same.
"""

from collections.abc import Iterable
from importlib.util import find_spec

from safechain_ray.config.training import Tracker
from safechain_ray.errors import InputError

PACKAGES = ("torch", "trl", "accelerate", "peft")


def check_packages(trackers: Iterable[Tracker]) -> None:
    """Raises InputError with what to install. A tracker's package goes by the tracker's name."""
    missing = _missing(PACKAGES)
    if missing:
        raise InputError(
            f"Fine-tuning needs packages that are not installed here ({', '.join(missing)}): "
            "pip install 'safechain-ray[train]', on all nodes."
        )
    missing = _missing(trackers)
    if missing:
        raise InputError(
            f"training.report_to names {' and '.join(missing)}, not installed here: pip install {' '.join(missing)}, "
            "on all nodes; or leave it out."
        )


def _missing(packages: Iterable[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]
