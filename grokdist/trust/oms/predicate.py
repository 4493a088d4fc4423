"""What a model signature signs: every file or shard with its digest, and how they were listed.

OpenSSF Model Signing v1.0, sections 5 and 6: predicate ``https://model_signing/signature/v1.0`` of
an in-toto statement. Read and written here as objects; who signed it, and what is on disk, is for
others. Where older tools differ from the specification they are read, and never imitated:

- resources in another order than that of code points (model-signing sorts by path segments);
- shards with the algorithm ``sha256-sharded-SIZE`` and a ``shard_size`` like ``1000000.0``;
- a model of one file whose resource is called ``.`` (before 1.0.1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from grokdist.cursor import Cursor
from grokdist.document import shorten
from grokdist.errors import TrustError
from grokdist.trust.oms.algorithms import HashAlgorithm
from grokdist.trust.oms.names import Ignored, Span, check_ignored, check_name, parse_shard
from grokdist.trust.oms.root import root_of
from grokdist.trust.statement import Statement, Subject

PREDICATE_TYPE = "https://model_signing/signature/v1.0"
DEFAULT_SHARD_SIZE = 1_000_000_000
"""Bytes of a shard unless told, as the specification recommends."""

ITSELF = "."
"""What old bundles call the one file of a model that is a file."""

MAX_RESOURCES = 1_000_000
_MAX_IGNORED = 10_000
_HEX = re.compile(r"(?:[0-9a-f]{2})+")


class Method(StrEnum):
    """How files become resources."""

    FILES = "files"
    SHARDS = "shards"


@dataclass(frozen=True, kw_only=True, slots=True)
class Serialization:
    """How the files of a model were listed and hashed.

    Attributes:
        algorithm: hash of every resource.
        shard_size: bytes of a shard; None where files are hashed whole.
        allow_symlinks: links were followed.
        ignore_paths: exact paths, relative to the model, that were left out.
    """

    algorithm: HashAlgorithm = HashAlgorithm.SHA256
    shard_size: int | None = None
    allow_symlinks: bool = False
    ignore_paths: tuple[str, ...] = ()

    @property
    def method(self) -> Method:
        """Whether whole files are hashed, or shards of them."""
        return Method.FILES if self.shard_size is None else Method.SHARDS

    def spans(self, path: str, size: int) -> list[Span]:
        """The resources that a file of ``size`` bytes becomes; none for an empty one in shards."""
        step = self.shard_size
        if step is None:
            return [Span(path)]
        return [Span(path, at, min(at + step, size)) for at in range(0, size, step)]

    def document(self) -> dict[str, Any]:
        """As JSON values."""
        shards = {} if self.shard_size is None else {"shard_size": self.shard_size}
        return {
            "method": self.method.value,
            "hash_type": self.algorithm.value,
            **shards,
            "allow_symlinks": self.allow_symlinks,
            "ignore_paths": list(self.ignore_paths),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Resource:
    """A file or shard, and its raw digest."""

    span: Span
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class SignedContents:
    """Everything that a model consists of, as its signature says.

    Attributes:
        name: what the signer called the model; for people, proves nothing.
        serialization: how it was listed and hashed.
        resources: files or shards, in the order of the statement.
        root: the root digest over them, 64 hex digits.
    """

    name: str
    serialization: Serialization
    resources: tuple[Resource, ...]
    root: str

    @classmethod
    def of(
        cls, name: str, serialization: Serialization, digests: Mapping[Span, bytes]
    ) -> SignedContents:
        """The contents of a model that was hashed, in the specification's order.

        Raises:
            TrustError: a name cannot stand in a statement.
        """
        for path in {span.path for span in digests}:
            check_name(path)
        resources = tuple(
            Resource(span=span, digest=digests[span])
            for span in sorted(digests, key=lambda span: span.name)
        )
        return cls(
            name=name,
            serialization=serialization,
            resources=resources,
            root=root_of(each.digest for each in resources),
        )

    @cached_property
    def files(self) -> Mapping[str, tuple[Resource, ...]]:
        """The resources of every file, those of one file by offset."""
        files: dict[str, list[Resource]] = {}
        for each in self.resources:
            files.setdefault(each.span.path, []).append(each)
        for parts in files.values():
            parts.sort(key=lambda each: each.span.start)
        return {path: tuple(parts) for path, parts in files.items()}

    def statement(self) -> Statement:
        """The in-toto statement to sign."""
        algorithm = self.serialization.algorithm.value
        resources = [
            {"name": each.span.name, "digest": each.digest.hex(), "algorithm": algorithm}
            for each in self.resources
        ]
        return Statement(
            subjects=(Subject(name=self.name, sha256=self.root),),
            predicate_type=PREDICATE_TYPE,
            predicate={"resources": resources, "serialization": self.serialization.document()},
        )


def read_contents(statement: Statement) -> SignedContents:
    """Read a statement whose signature was judged.

    Checks the predicate's type and form, every name, that no resource comes twice, that no file is
    a folder of another or among the ignored paths, that shards cover each file without gap or
    overlap in steps of the size given, and that the root digest is that of the resources.

    Raises:
        TrustError: any of these does not hold.
    """
    if statement.predicate_type != PREDICATE_TYPE:
        raise TrustError(
            f"the signature is over a statement of type {shorten(statement.predicate_type)};"
            f" expected {PREDICATE_TYPE}"
        )
    if len(statement.subjects) != 1:
        raise TrustError(
            f"the signed statement has {len(statement.subjects)} subjects; expected the one model"
        )
    predicate = Cursor(statement.predicate, "predicate", noun="statement", kind=TrustError)
    _only(predicate, "resources", "serialization")
    serialization = _serialization(predicate["serialization"])
    items = predicate["resources"].items(limit=MAX_RESOURCES)
    contents = SignedContents(
        name=statement.subjects[0].name,
        serialization=serialization,
        resources=tuple(_resource(item, serialization) for item in items),
        root=statement.subjects[0].sha256,
    )
    _check(contents)
    _check_root(contents)
    return contents


def check_shape(files: Iterable[str]) -> None:
    """Check that no file of a model is also the folder of another.

    Raises:
        TrustError: one is.
    """
    paths = set(files)
    for path in paths:
        at = path.rfind("/")
        while at > 0:
            if path[:at] in paths:
                raise TrustError(
                    f"path {shorten(path[:at])} in the signed statement is a file and the folder"
                    " of another; expected one of both"
                )
            at = path.rfind("/", 0, at)


def _serialization(cursor: Cursor) -> Serialization:
    _only(cursor, "method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths")
    method = cursor["method"].choice(Method)
    size = cursor.get("shard_size")
    if method is Method.FILES and size is not None:
        raise size.error("none beside the method files")
    if method is Method.SHARDS and size is None:
        raise cursor["shard_size"].error("bytes of a shard")
    return Serialization(
        algorithm=cursor["hash_type"].choice(HashAlgorithm),
        shard_size=None if size is None else _shard_size(size),
        allow_symlinks=cursor["allow_symlinks"].boolean(),
        ignore_paths=_ignored(cursor),
    )


def _shard_size(cursor: Cursor) -> int:
    # Protocol buffers know no integers in free-form values, and so model-signing writes 1000000.0.
    value = cursor.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return Cursor(value, cursor.place, noun=cursor.noun, kind=cursor.kind).integer(low=1)


def _ignored(cursor: Cursor) -> tuple[str, ...]:
    member = cursor.get("ignore_paths")
    if member is None:
        return ()
    paths = []
    for item in member.items(limit=_MAX_IGNORED):
        if not isinstance(item.value, str):
            raise item.error("a path")
        check_ignored(item.value)
        paths.append(item.value)
    return tuple(paths)


def _resource(cursor: Cursor, serialization: Serialization) -> Resource:
    name = cursor["name"]
    if not isinstance(name.value, str):
        raise name.error("a string")
    if serialization.method is Method.SHARDS:
        span = parse_shard(name.value)
    else:
        span = Span(name.value)
        if span.path != ITSELF:
            check_name(span.path)
    algorithm = serialization.algorithm
    # A tuple, not a set: what stands there may be an object, which has no hash.
    names = (algorithm.value, f"{algorithm.value}-sharded-{serialization.shard_size}")
    if cursor["algorithm"].value not in names:
        raise cursor["algorithm"].error(f"{algorithm.value}, the statement's hash_type")
    # Exactly so many digits: else two lists of digests could have one root.
    digits = 2 * algorithm.size
    digest = cursor["digest"].match(_HEX, f"{digits} lower-case hexadecimal digits")
    if len(digest) != digits:
        raise cursor["digest"].error(f"{digits} lower-case hexadecimal digits")
    return Resource(span=span, digest=bytes.fromhex(digest))


def _check(contents: SignedContents) -> None:
    if not contents.resources:
        raise TrustError("the signed statement names no file; expected at least one")
    seen: set[Span] = set()
    for each in contents.resources:
        if each.span in seen:
            raise TrustError(f"resource {shorten(each.span.name)} comes twice; expected it once")
        seen.add(each.span)
    if ITSELF in contents.files and len(contents.files) > 1:
        raise TrustError("resource '.' stands beside others; expected it alone")
    check_shape(contents.files)
    ignored = Ignored(contents.serialization.ignore_paths)
    for path in contents.files:
        if path in ignored:
            raise TrustError(
                f"path {shorten(path)} is signed and among the ignored paths; expected one of both"
            )
    if contents.serialization.shard_size is not None:
        for path, parts in contents.files.items():
            _check_shards(path, parts, contents.serialization.shard_size)


def _check_shards(path: str, parts: tuple[Resource, ...], size: int) -> None:
    reached = 0
    for number, each in enumerate(parts):
        end = each.span.end or 0
        whole = end - each.span.start == size
        last = number == len(parts) - 1
        if each.span.start != reached or not (whole or (last and end - each.span.start < size)):
            raise TrustError(
                f"shard {shorten(each.span.name)} does not follow on; expected bytes from"
                f" {reached} on of {shorten(path)}, {size} a shard"
            )
        reached = end


def _check_root(contents: SignedContents) -> None:
    digests = [each.digest for each in contents.resources]
    if root_of(digests) == contents.root:
        return
    ordered = sorted(contents.resources, key=lambda each: each.span.name)
    if root_of(each.digest for each in ordered) != contents.root:
        raise TrustError(
            "the signed statement contradicts itself: the digest of its subject is not the one of"
            f" its resources; expected {root_of(digests)}, got {contents.root}"
        )


def _only(cursor: Cursor, *names: str) -> None:
    for key in cursor.members():
        if key not in names:
            raise cursor.error(f"no member but {', '.join(names)}", found=f"with {shorten(key)}")
