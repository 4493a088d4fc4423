"""All registries of this machine: the embedded one and those that are followed.

The one place where a name becomes a registry and a manifest. ``NAME:MODEL`` asks one registry;
a bare model name asks the embedded one first, so that nobody who is followed can take its names,
and otherwise means the model of the one followed registry that has it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from grokdist.catalog.followed_registries import FollowedRegistries
from grokdist.catalog.registry_names import EMBEDDED, NAME, UNSIGNED
from grokdist.errors import TrustError, UnknownModelError

if TYPE_CHECKING:
    from grokdist.catalog.manifest import TrustedManifest
    from grokdist.catalog.registry import Registry

_QUALIFIED = re.compile(rf"(?P<registry>{NAME.pattern}):(?P<model>[^/\\:]+)")


def split(model: str) -> tuple[str | None, str]:
    """The registry that a model name asks for, None for any; and the name in it."""
    match = _QUALIFIED.fullmatch(model)
    return (match["registry"], match["model"]) if match else (None, model)


def named(name: str) -> Registry:
    """A registry by its name.

    Raises:
        UnknownModelError: no registry of that name is followed.
        TrustError: its state cannot be read.
    """
    return _embedded() if name == EMBEDDED else FollowedRegistries().get(name).registry()


def names() -> list[str]:
    """Names of the embedded registry and of those that are followed."""
    return [EMBEDDED, *FollowedRegistries().names()]


def qualified(registry: str, model: str) -> str:
    """How a person names the model of a registry."""
    return model if registry in (EMBEDDED, UNSIGNED) else f"{registry}:{model}"


def load(model: str, *, strict_freshness: bool = False) -> TrustedManifest:
    """Verify a registry and the manifest of a model in it.

    Args:
        model: ``NAME``, or ``REGISTRY:NAME``.
        strict_freshness: refuse expired metadata rather than mark it.

    Raises:
        UnknownModelError: no registry has it, or several followed ones do.
        TrustError: a signature, digest, version or file does not hold.
        ManifestError: the manifest is signed, but malformed.
    """
    registry, name = split(model)
    if registry is not None:
        return named(registry).load(name, strict_freshness=strict_freshness)
    holder = _embedded()
    followed = FollowedRegistries().names()
    if followed and name not in holder.names():
        having, fault = _having(name, followed)
        if len(having) > 1:
            raise UnknownModelError(
                f"{len(having)} followed registries have a model {name}; expected one of "
                + ", ".join(f"{each.name}:{name}" for each in having),
                hint=f"grokdist show {having[0].name}:{name}",
            )
        if having:
            holder = having[0]
        elif fault is not None:
            raise fault
    return holder.load(name, strict_freshness=strict_freshness)


def vouching(model: str) -> tuple[str, ...] | None:
    """The registries whose word on a fetched model of a bare name counts; None for any.

    A name of the embedded registry is its own, or the user's by a manifest file.
    """
    if FollowedRegistries().names() and model in _embedded().names():
        return (EMBEDDED, UNSIGNED)
    return None


def last_checked(name: str) -> str | None:
    """When a followed registry was last updated, UTC; None for one that is not followed."""
    if name in (EMBEDDED, UNSIGNED):
        return None
    try:
        return FollowedRegistries().get(name).checked
    except UnknownModelError:
        return None


def _embedded() -> Registry:
    # Where no registry is followed, most questions here are answered without these imports.
    from grokdist.catalog.registry import Registry

    return Registry.embedded()


def _having(name: str, followed: list[str]) -> tuple[list[Registry], TrustError | None]:
    """The followed registries that have a model, and what is wrong with one that cannot say."""
    having: list[Registry] = []
    fault: TrustError | None = None
    for each in followed:
        try:
            registry = named(each)
            if name in registry.names():
                having.append(registry)
        except TrustError as error:
            fault = error
    return having, fault
