"""``grokdist sign``: one signature over every file of a model (OpenSSF Model Signing v1.0)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grokdist.cli import options
from grokdist.cli.format import bytes_text, count_text, duration_text
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokdist.trust.keys import SigningKey
    from grokdist.trust.oms.bundle import Bundle

DEFAULT_NAME = "model.sig"


def sign(
    model: Annotated[Path, typer.Argument(help="The model's directory, or its one file.")],
    key: Annotated[
        list[Path],
        typer.Option(
            "--key", metavar="PEM", help="Private key (P-256, P-384, P-521); several sign together."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="The file to write; default: model.sig in the directory or its .grokdist."
        ),
    ] = None,
    shard_size: Annotated[
        int | None,
        typer.Option(min=1, metavar="BYTES", help="Sign shards of so many bytes, not files."),
    ] = None,
    hash: Annotated[
        str, typer.Option(metavar="ALGORITHM", help="sha256, blake2b, or blake3 where it is here.")
    ] = "sha256",
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Leave this path out; it is recorded.")
    ] = None,
    allow_symlinks: Annotated[
        bool, typer.Option("--allow-symlinks", help="Sign what links lead to, under their names.")
    ] = False,
    certificate: Annotated[
        Path | None,
        typer.Option(metavar="PEM", help="Certificate of the first key, to go with the signature."),
    ] = None,
    chain: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Certificates from its issuer up, without the root."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Files hashed at once.")] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Sign every file of a model: a bundle that any OpenSSF Model Signing tool verifies."""
    from grokdist.cli.attesting import signing_keys
    from grokdist.cli.progress import showing
    from grokdist.transfer.model_signature import hash_model
    from grokdist.trust.oms.algorithms import HashAlgorithm
    from grokdist.trust.statement import MAX_BYTES

    out = Output(json=json, quiet=quiet, verbose=verbose)
    if hash not in list(HashAlgorithm):
        raise UsageError(f"--hash {hash!r} is not known; expected {', '.join(HashAlgorithm)}")
    if chain and certificate is None:
        raise UsageError("--chain leads up from a certificate; expected --certificate beside it")
    keys = tuple({each.public: each for each in signing_keys(key)}.values())
    certificates = _certificates(keys, certificate, chain or ())
    target = output if output is not None else _default_output(model)
    _check_replaceable(target)
    _clear(target)
    with showing(out) as progress:
        hashed = hash_model(
            model,
            shard_size=shard_size,
            algorithm=HashAlgorithm(hash),
            ignore=[*(ignore or ()), *inside(target, model)],
            allow_symlinks=allow_symlinks,
            jobs=jobs,
            progress=progress,
        )
    for note in hashed.notes:
        out.warning(note)
    payload = hashed.contents.statement().serialise()
    if len(payload) > MAX_BYTES:
        raise UsageError(
            f"the statement over {len(hashed.contents.resources)} resources has {len(payload)}"
            f" bytes; expected at most {MAX_BYTES}",
            hint="sign larger shards, or whole files",
        )
    bundle = _signed(payload, keys, certificates)
    _write(target, bundle)
    contents = hashed.contents
    signers = [each.public for each in keys]
    names = " and ".join(f"{each.curve} key {each.keyid[:16]}" for each in signers)
    count = count_text(hashed.files, "file")
    parts = "" if shard_size is None else f" in {count_text(len(contents.resources), 'shard')}"
    out.result(
        {
            "signature": str(target),
            "files": hashed.files,
            "bytes": hashed.bytes,
            "seconds": round(hashed.seconds, 3),
            "resources": len(contents.resources),
            "root": contents.root,
            "method": contents.serialization.method.value,
            "hash": contents.serialization.algorithm.value,
            "shard_size": shard_size,
            "ignore_paths": list(contents.serialization.ignore_paths),
            "signers": [{"kind": "key", "id": each.keyid, "name": each.curve} for each in signers],
        },
        f"{contents.name} signed: {count}{parts}, {bytes_text(hashed.bytes)}"
        f" in {duration_text(hashed.seconds)}; root {contents.root[:16]}...\n"
        f"by {names}: {target}",
    )


def _certificates(
    keys: Sequence[SigningKey], certificate: Path | None, chain: Sequence[Path]
) -> tuple[bytes, ...]:
    """The DER chain that goes into the bundle, the signer's first; empty without one."""
    if certificate is None:
        return ()
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.serialization import Encoding

    from grokdist.trust.oms.certificates import certified_key, check_may_sign, load_certificates

    leaf, *others = load_certificates(certificate)
    if certified_key(leaf).key != keys[0].public:
        raise UsageError(f"{certificate} is the certificate of another key; expected the first's")
    check_may_sign(leaf, now=datetime.now(UTC))
    for path in chain:
        others += load_certificates(path)
    return tuple(each.public_bytes(Encoding.DER) for each in (leaf, *others))


def _default_output(model: Path) -> Path:
    from grokdist.trust.oms.names import STATE

    if not model.is_dir():
        return model.with_name(f"{model.name}.sig")
    # A fetched model holds what its manifest lists and nothing else: the rest goes beside it.
    state = model / STATE
    return (state if state.is_dir() else model) / DEFAULT_NAME


def inside(target: Path, model: Path) -> list[str]:
    """The path of a signature in its model, which it cannot sign itself; none elsewhere."""
    from grokdist.trust.oms.names import STATE

    if not model.is_dir():
        return []
    place = target.parent.resolve() / target.name
    root = model.resolve()
    # What grokdist keeps in a model is never signed.
    outside = not place.is_relative_to(root) or place.is_relative_to(root / STATE)
    return [] if outside else [place.relative_to(root).as_posix()]


def _check_replaceable(target: Path) -> None:
    """A signature may replace a signature, and nothing else."""
    from grokdist.bounded_file import TooLargeError, read_bounded
    from grokdist.errors import TrustError
    from grokdist.trust.dsse import MAX_BYTES
    from grokdist.trust.oms.bundle import Bundle

    try:
        Bundle.parse(read_bounded(target, MAX_BYTES))
    except FileNotFoundError:
        pass
    except (OSError, TooLargeError, TrustError):
        raise UsageError(
            f"{target} is there and is no signature; expected a free name or an older signature",
            hint="--output FILE",
        ) from None


def _clear(target: Path) -> None:
    """Remove what a signing that was killed left of its file: it is no part of the model."""
    from grokdist.transfer.tree import NEW_SUFFIX, ModelTree

    if target.parent.is_dir():
        with ModelTree(target.parent) as tree:
            tree.remove(f"{target.name}{NEW_SUFFIX}")


def _signed(payload: bytes, keys: Sequence[SigningKey], certificates: tuple[bytes, ...]) -> Bundle:
    from grokdist.trust.dsse import Envelope
    from grokdist.trust.oms.bundle import Bundle, Material

    return Bundle(
        material=Material.CERTIFICATE if certificates else Material.KEY,
        envelope=Envelope.signed(payload, keys),
        hint=keys[0].public.keyid,
        chain=certificates,
    )


def _write(target: Path, bundle: Bundle) -> None:
    from grokdist.transfer.tree import ModelTree

    with ModelTree.create(target.parent) as tree:
        tree.write_small(target.name, bundle.serialise())
