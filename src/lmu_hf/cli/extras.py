"""What ``pip install "lmu-hf[...]"`` adds, and what of it is not installed."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement

from ..common.errors import InputError

PROJECT = "lmu-hf"


def extras() -> dict[str, list[Requirement]]:
    """Of each extra of the installed package, what it asks for; nothing if the package was not installed by pip."""
    try:
        package = distribution(PROJECT)
    except PackageNotFoundError:  # a source tree on the path
        return {}
    names = package.metadata.get_all("Provides-Extra") or []
    return {name: list(_asked(package.requires or [], name)) for name in names}


def _asked(requirements: list[str], extra: str) -> Iterator[Requirement]:
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        # What the package asks for without an extra has no marker of one, or a marker that holds without it.
        of_extra = marker is not None and not marker.evaluate({"extra": ""}) and marker.evaluate({"extra": extra})
        if of_extra and requirement.name != PROJECT:  # an extra may be made of others
            yield requirement


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed, or are too old, with the versions that it asks for."""
    return [str(asked).partition(";")[0].strip() for asked in extras().get(extra, []) if not _is_there(asked)]


def _is_there(asked: Requirement) -> bool:
    try:
        return asked.specifier.contains(distribution(asked.name).version, prereleases=True)
    except PackageNotFoundError:
        return False


def check_extra(extra: str) -> None:
    """Refuse to go on without an extra.

    Raises:
        InputError: a package of it is missing; the message gives the command that installs it.
    """
    if lacking := missing(extra):
        raise InputError(f"this needs {', '.join(lacking)}: pip install '{PROJECT}[{extra}]'")
