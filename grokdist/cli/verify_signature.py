"""``grokdist verify --signature``: a model against an OpenSSF Model Signing bundle, offline.

First who signed, by every signature of the bundle; then what they signed, against what is on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import bytes_text, count_text, duration_text, plain_text
from grokdist.errors import TrustError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from grokdist.cli.output import Output
    from grokdist.transfer.model_check import RangeChecked, SignatureReport
    from grokdist.trust.keys import SigningKey
    from grokdist.trust.oms.bundle import Bundle
    from grokdist.trust.oms.judgement import Judgement, Signer, Trusted

_SHOWN = 20

SignatureFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Verify against this model signature (a bundle), not a manifest."
    ),
]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--key", metavar="PEM", help="With --signature: a public key whose signature counts."
    ),
]
Threshold = Annotated[
    int | None, typer.Option(metavar="N", help="So many different signers are required.")
]
CertificateRoot = Annotated[
    list[Path] | None,
    typer.Option(metavar="PEM", help="A signer's certificate that leads to this root counts."),
]
TrustedRoot = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Judge a Sigstore signature by this trusted_root.json."),
]
Identity = Annotated[str | None, typer.Option(help="Who must have signed it by Sigstore.")]
IdentityProvider = Annotated[
    str | None, typer.Option(metavar="URL", help="Who must have vouched for that identity.")
]
IgnoreMissing = Annotated[
    bool, typer.Option("--ignore-missing", help="Report signed files that are absent, no more.")
]
IgnoreUnsigned = Annotated[
    bool,
    typer.Option("--ignore-unsigned-files", help="Report files that were not signed, no more."),
]
Ignore = Annotated[
    list[str] | None, typer.Option(metavar="PATH", help="This path need not have been signed.")
]


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureFlags:
    """What a person said about whose signature it must be; as the flags of ``verify``."""

    keys: Sequence[Path]
    threshold: int | None
    certificate_roots: Sequence[Path]
    trusted_root: Path | None
    identity: str | None
    identity_provider: str | None
    ignore_missing: bool
    ignore_unsigned: bool
    ignore: Sequence[str]

    def refuse_without_signature(self) -> None:
        """Say that flags about signatures need one.

        Raises:
            UsageError: some were given, and no ``--signature``.
        """
        if self.threshold is not None or any(getattr(self, name) for name in self.__slots__):
            raise UsageError(
                "flags about signatures were given and no signature; expected --signature FILE"
            )


def verify_signature(
    model: str,
    signature: Path,
    flags: SignatureFlags,
    out: Output,
    *,
    include: Sequence[str],
    range: str | None,
    jobs: int | None,
    attest: Path | None = None,
    attest_keys: Sequence[SigningKey] = (),
) -> None:
    """Judge a bundle, hold a model against it, print the result, and end with its exit code.

    Where all is right and ``attest`` is given, the result is stated there as an attestation.
    """
    from datetime import UTC, datetime

    from grokdist.cli.attest_signature import attest_signature
    from grokdist.cli.progress import showing
    from grokdist.cli.sign import inside
    from grokdist.transfer.model_check import check_model
    from grokdist.transfer.tree import NEW_SUFFIX
    from grokdist.trust.oms.judgement import judge

    trusted = _trusted(flags)
    threshold = 1 if flags.threshold is None else flags.threshold
    directory = _directory(model)
    bundle = _bundle(signature)
    # A signing that was killed may have left the second one.
    own = (signature, signature.with_name(f"{signature.name}{NEW_SUFFIX}"))
    judged = judge(bundle, trusted, threshold=threshold, now=datetime.now(UTC))
    byte_range = None if range is None else _range(range, include)
    with showing(out) as progress:
        report = check_model(
            directory,
            judged.contents,
            include=() if byte_range is not None else include,
            byte_range=byte_range,
            ignore=[*flags.ignore, *(path for each in own for path in inside(each, directory))],
            ignore_missing=flags.ignore_missing,
            ignore_unsigned=flags.ignore_unsigned,
            jobs=jobs,
            progress=progress,
        )
    for note in report.notes:
        out.warning(plain_text(note))
    attested = None
    if attest is not None and report.ok:
        attested = attest_signature(
            bundle, judged, report, include=include, keys=attest_keys, file=attest
        )
    out.result(
        {
            **_document(report, judged),
            "attestation": None if attested is None else attested.document(),
        },
        _text(report, judged, directory)
        + ("" if attested is None else f"\n{plain_text(attested.text())}"),
    )
    if not report.ok:
        raise typer.Exit(ExitCode.DIGEST)


def _trusted(flags: SignatureFlags) -> Trusted:
    """Whose signatures count, read from the files that were named."""
    from grokdist.trust.keys import load_verifying_key
    from grokdist.trust.oms.certificates import load_certificates
    from grokdist.trust.oms.judgement import Trusted
    from grokdist.trust.oms.sigstore import ExpectedIdentity

    identity = None
    if flags.trusted_root is not None:
        identity = ExpectedIdentity(
            trusted_root=flags.trusted_root,
            identity=flags.identity or "",
            provider=flags.identity_provider or "",
        )
    elif flags.identity is not None or flags.identity_provider is not None:
        raise UsageError(
            "an identity is judged by a Sigstore trusted root; expected --trusted-root FILE"
        )
    return Trusted(
        keys=tuple(load_verifying_key(path) for path in flags.keys),
        roots=tuple(each for path in flags.certificate_roots for each in load_certificates(path)),
        identity=identity,
    )


def _bundle(path: Path) -> Bundle:
    """Read a bundle file; one that is not there is a signature that is not there."""
    from grokdist.bounded_file import TooLargeError, read_bounded
    from grokdist.trust.dsse import MAX_BYTES
    from grokdist.trust.oms.bundle import Bundle

    try:
        return Bundle.parse(read_bounded(path, MAX_BYTES))
    except OSError as error:
        raise TrustError(
            f"the signature {path} cannot be read: {error.strerror or error}"
        ) from error
    except TooLargeError:
        raise TrustError(f"{path} is too large; expected at most {MAX_BYTES} bytes") from None


def _directory(model: str) -> Path:
    path = Path(model)
    if path.exists():
        return path
    from grokdist.api.lookup import stored_model

    return stored_model(model).directory


def _range(text: str, include: Sequence[str]) -> tuple[str, int, int | None]:
    from grokdist.cli.byte_range import parse_range

    path, start, end = parse_range(text)
    if path is not None and include:
        raise UsageError(f"--range {text!r} names its file; expected no --include beside it")
    if path is None:
        if len(include) != 1:
            raise UsageError(f"--range {text} names no file; expected one", hint="--range PATH:...")
        path = include[0]
    return path, start, end


def _document(report: SignatureReport, judged: Judgement) -> dict[str, Any]:
    from grokdist.cli.verify import mismatch_document

    contents = judged.contents
    document: dict[str, Any] = {
        "ok": report.ok,
        "files": report.files,
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "missing": list(report.missing),
        "mismatched": [mismatch_document(each) for each in report.mismatched],
        "extra": list(report.extra),
        "ignored": list(report.ignored),
        "signers": [_signer(each) for each in judged.signers],
        "signatures": [None if each is None else each.id for each in judged.signatures],
        "threshold": judged.required,
        "root": contents.root,
        "method": contents.serialization.method.value,
        "hash": contents.serialization.algorithm.value,
        "signed_files": len(contents.files),
    }
    if (checked := report.range) is not None:
        document["range"] = {
            "path": checked.path,
            "start": checked.start,
            "end": checked.end,
            "read": [checked.read_start, checked.read_end],
            "shards": checked.shards,
        }
    return document


def _signer(signer: Signer) -> dict[str, str]:
    return {"kind": signer.kind.value, "id": signer.id, "name": signer.name}


def _text(report: SignatureReport, judged: Judgement, directory: Path) -> str:
    name = directory.resolve().name
    checked = f"{count_text(report.files, 'file')}, {bytes_text(report.bytes)}"
    faults = [f"missing: {path}" for path in report.missing]
    faults += [
        f"mismatched: {each.path}: expected {each.expected}, got {each.got}"
        + (f"; damaged: bytes {each.ranges[0][0]}-{each.ranges[-1][1]}" if each.ranges else "")
        for each in report.mismatched
    ]
    faults += [f"not signed: {path}" for path in report.extra]
    shown = [plain_text(line) for line in faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        shown.append(f"... and {len(faults) - _SHOWN} more (--json lists all)")
    if not report.ok:
        found = count_text(len(faults), "fault") if faults else "none of the signed files is here"
        return "\n".join([f"{name} is NOT what was signed: {found}, {checked} right", *shown])
    took = duration_text(report.seconds)
    if report.range is not None:
        first = _range_text(report.range, name, took)
    else:
        of = len(judged.contents.files)
        part = "" if report.files == of else f" of {of} that were signed"
        first = f"{name} is what was signed: {checked}{part} in {took}"
    return "\n".join([first, *_by(judged), *shown])


def _range_text(checked: RangeChecked, name: str, took: str) -> str:
    right = f"{name}: bytes {checked.start} to {checked.end} of {checked.path} are what was signed"
    if checked.shards:
        read = f"{count_text(checked.shards, 'shard')} read, nothing else"
    else:
        read = "only the whole file was signed, so all of it was read"
    return plain_text(f"{right} ({took}; {read})")


def _by(judged: Judgement) -> list[str]:
    lines = []
    for each in judged.signers:
        who = each.id[:16] if each.kind.value != "sigstore" else each.id
        lines.append(plain_text(f"signed by {each.kind.value} {who} ({each.name})"))
    unknown = sum(each is None for each in judged.signatures)
    if unknown:
        lines.append(f"{count_text(unknown, 'signature')} more, by nobody whom you trust")
    return lines
