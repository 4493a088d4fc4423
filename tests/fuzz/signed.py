"""Targets that say what a model is and who vouches for it: manifests, TUF, model signatures."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import zlib
from datetime import UTC, datetime
from typing import Any

from tests.fuzz import mutation
from tests.fuzz.target import REPOSITORY, Target

_VECTORS = REPOSITORY / "tests/trust/oms/vectors"
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)


def manifest_target() -> Target:
    from grokdist.catalog.parsing import parse_manifest
    from grokdist.errors import GrokdistError

    seeds = []
    for path in sorted((REPOSITORY / "manifests/models").glob("*.json")):
        document = json.loads(path.read_bytes())
        wanted = document["license"].get("text_path")
        files = document["files"] or []
        document["files"] = files[:2] + [each for each in files[2:] if each["path"] == wanted]
        if document.get("index"):
            document["index"]["dimensions"] = document["index"]["dimensions"][:2]
        document["components"] = document["components"][:2]
        seeds.append(json.dumps(document, ensure_ascii=False).encode())
    return Target(
        seeds=seeds, run=parse_manifest, refusals=(GrokdistError,), mutate=mutation.json_tree
    )


def tuf_target() -> Target:
    """A whole registry in one document; parts that still are roles are signed anew."""
    from securesystemslib.formats import encode_canonical
    from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]
    from tuf.api.metadata import Root, Snapshot, Targets, Timestamp  # type: ignore[attr-defined]

    from grokdist.catalog.trusted_metadata import RegistryFiles, load_metadata, verify_registry
    from grokdist.errors import GrokdistError
    from tests.catalog.registry_simulator import NOW, RegistrySimulator

    simulator = RegistrySimulator()
    simulator.with_hashes = False
    one = [CryptoSigner.generate_ed25519()]
    simulator.signers = dict.fromkeys(simulator.signers, one)
    for role in simulator.root.roles.values():
        role.keyids, role.threshold = [], 1
    simulator.root.keys = {}
    for role_name in simulator.signers:
        simulator.root.add_key(one[0].public_key, role_name)
    simulator.root_signers = [one]
    files = simulator.files()
    kinds = {"root": Root, "timestamp": Timestamp, "snapshot": Snapshot, "targets": Targets}
    parts = (files.roots[0], files.timestamp, files.snapshot, files.targets)
    whole = {name: json.loads(data) for name, data in zip(kinds, parts, strict=True)}
    untouched = {name: json.dumps(part) for name, part in whole.items()}

    def written(part: Any) -> bytes:
        with contextlib.suppress(Exception):  # what cannot be signed stays as it is
            signature = one[0].sign(encode_canonical(part["signed"]).encode())
            part["signatures"] = [{"keyid": signature.keyid, "sig": signature.signature}]
        return json.dumps(part, sort_keys=True).encode("utf-8", "surrogatepass")

    def run(data: bytes) -> None:
        try:
            tree = json.loads(data)
        except (ValueError, RecursionError):
            tree = None
        if not isinstance(tree, dict) or not kinds.keys() <= tree.keys():
            for kind in kinds.values():
                load_metadata("x.json", data, kind, exact=False)
            return
        signed = {
            name: written(tree[name]) if json.dumps(tree[name]) != untouched[name] else part
            for name, part in zip(kinds, parts, strict=True)
        }
        registry = RegistryFiles(
            roots=(signed["root"],),
            timestamp=signed["timestamp"],
            snapshot=signed["snapshot"],
            targets=signed["targets"],
        )
        verify_registry(
            registry,
            root_sha256=hashlib.sha256(signed["root"]).hexdigest(),
            now=NOW,
            exact=len(data) % 2 == 0,
        )

    return Target(
        seeds=[json.dumps(whole).encode(), json.dumps(whole).encode() + b" "],
        run=run,
        refusals=(GrokdistError,),
        mutate=mutation.json_tree,
    )


def oms_target() -> Target:
    """A bundle, its certificates, and its payload as if the signature over it held."""
    from grokdist.errors import GrokdistError
    from grokdist.trust.keys import load_verifying_key
    from grokdist.trust.oms import legacy, predicate
    from grokdist.trust.oms.bundle import Bundle
    from grokdist.trust.oms.certificates import load_certificates
    from grokdist.trust.oms.judgement import Trusted, judge
    from grokdist.trust.statement import parse_statement

    keys = (load_verifying_key(_VECTORS / "reference/signing-key-pub.pem"),)
    trusted = Trusted(keys=keys, roots=load_certificates(_VECTORS / "reference/ca-cert.pem"))
    seeds = [*_VECTORS.glob("specification/valid/*.json"), *_VECTORS.glob("reference/*/model.sig")]

    def run(data: bytes) -> object:
        bundle = Bundle.parse(data)
        # Arithmetic on curves takes most of the time and sees little of the form: one in eight.
        if zlib.crc32(data) % 8 == 0:
            with contextlib.suppress(GrokdistError):
                judge(bundle, trusted, now=_WHEN)
        statement = parse_statement(bundle.envelope.payload)
        old = statement.predicate_type == legacy.PREDICATE_TYPE
        return (legacy if old else predicate).read_contents(statement).files

    def nested(rng: Any, data: bytes) -> bytes:
        """The payload inside its base64 as often as the document around it."""
        try:
            document = json.loads(data)
            envelope = document["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            if rng.random() < 0.5:
                changed = mutation.json_tree(rng, payload)
                envelope["payload"] = base64.b64encode(changed).decode()
                return json.dumps(document).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        return mutation.json_tree(rng, data)

    return Target(
        seeds=[path.read_bytes() for path in sorted(seeds)],
        run=run,
        refusals=(GrokdistError,),
        mutate=nested,
    )
