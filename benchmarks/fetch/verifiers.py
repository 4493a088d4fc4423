"""Who checks a copy that is on disk already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.fetch.contest import Contestant, grokdist, own_home
from benchmarks.fetch.payload import COMMIT, Payload
from benchmarks.fetch.tools import Peers, missing
from benchmarks.fetch.web import Web

GROKDIST = "grokdist verify"
ONE_THREAD = "hashlib, one thread"
HASHER = "hashlib, a thread a core"
READER = "reading alone, a thread a core"


def fetched_copy(payload: Payload, home: Path) -> Path:
    """A directory that grokdist fetched, for it to verify: the payload's files by other names.

    So everyone reads the same pages; where there are two copies, what the one has in the page cache
    the other lacks.
    """
    copy = home / "copies" / payload.name
    command = grokdist("fetch", payload.name, "--manifest", str(payload.manifest))
    command += ["--dir", str(copy), "--source", f"local:{payload.directory}", "--link"]
    command += ["--yes", "--quiet"]
    subprocess.run(command, check=True, env={**os.environ, **own_home(home / "out")})
    return copy


def verifiers(
    payload: Payload, copy: Path, web: Web | None, peers: Peers, home: Path
) -> list[Contestant]:
    """All contestants for one payload; grokdist works on ``copy``, the others on the payload."""
    at_once = max(1, len(payload.files) // 64)
    hasher = [sys.executable, "-m", "benchmarks.fetch.plain_hasher", str(payload.directory)]
    sums = f"find {payload.directory} -type f -print0 | xargs -0 -n{at_once} -P{os.cpu_count()}"
    hub_missing = peers.missing or ("nginx not found" if web is None else None)
    signature = None if peers.missing else _sign(payload, peers, home)
    return [
        Contestant(
            name=READER,
            checks="nothing",
            command=lambda _: [*hasher, "--read-only"],
        ),
        Contestant(
            name=ONE_THREAD,
            checks="nothing, hashes",
            command=lambda _: [*hasher, "--threads", "1"],
        ),
        Contestant(name=HASHER, checks="nothing, hashes", command=lambda _: hasher),
        Contestant(
            name="sha256sum by xargs, all cores",
            checks="nothing, hashes",
            command=lambda _: ["sh", "-c", f"{sums} sha256sum >/dev/null"],
            missing=missing("sha256sum"),
        ),
        Contestant(
            name="hf cache verify",
            checks="SHA-256",
            command=lambda _: [
                *(peers.program("hf"), "cache", "verify", payload.repository),
                *("--revision", COMMIT, "--local-dir", str(payload.directory)),
            ],
            environment={
                "HF_ENDPOINT": web.endpoint if web is not None else "",
                "HF_HOME": str(home / "hf-home"),
                "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            },
            missing=hub_missing,
        ),
        Contestant(
            name="model_signing verify",
            checks="SHA-256, signature",
            command=lambda _: [
                *(peers.program("model_signing"), "verify", "key", str(payload.directory)),
                *("--signature", str(signature)),
                *("--public_key", str(home / "signing/public.pem")),
            ],
            missing=peers.missing,
        ),
        Contestant(
            name=GROKDIST,
            checks="SHA-256, signature or manifest",
            command=lambda _: grokdist(
                "verify", str(copy), "--manifest", str(payload.manifest), "--json"
            ),
            environment=own_home(home / "out"),
        ),
    ]


def _sign(payload: Payload, peers: Peers, home: Path) -> Path:
    """Sign a payload with a key made for it; the key is worth nothing elsewhere."""
    folder = home / "signing"
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private = folder / "private.pem"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "public.pem").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    signature = folder / f"{payload.name}.sig"
    command = [peers.program("model_signing"), "sign", "key", str(payload.directory)]
    command += ["--private_key", str(private), "--signature", str(signature)]
    subprocess.run(command, check=True, capture_output=True)
    return signature
