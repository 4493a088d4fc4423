"""The chain of evidence: from what the publisher published to what this machine attests.

Each link says whether the report's own program checked it, and what that does not say. Pure words
and values; the picture is in ``evidence_svg.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.converted import converted_from
from grokdist.catalog.manifest import Anchor, AnchorKind, Role, TrustedManifest
from grokdist.policy.report_files import Held, Holding, checked_between, plural, size_text
from grokdist.trust.oms.root import root_of_files
from grokdist.trust.receipt import Receipt

SHORT = 12
"""Digits of an identifier that a picture shows; the whole stands in the words beside it."""


class Check(StrEnum):
    """Whether a link of the chain was checked by the program that made the report."""

    CHECKED = "checked"
    PARTLY = "checked in part"
    NOT_CHECKED = "not checked"
    BROKEN = "does not hold"


@dataclass(frozen=True, kw_only=True, slots=True)
class Station:
    """One thing in the chain.

    Attributes:
        name: what it is.
        facts: label and short value, at most four.
        there: False where there is none.
    """

    name: str
    facts: tuple[tuple[str, str], ...]
    there: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """What binds one thing to the next.

    Attributes:
        check: whether that was checked.
        says: what was found, and what it does not say, in sentences.
    """

    check: Check
    says: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chain:
    """The chain.

    Attributes:
        stations: in order.
        links: ``links[i]`` binds ``stations[i]`` to ``stations[i + 1]``.
    """

    stations: tuple[Station, ...]
    links: tuple[Link, ...]

    @property
    def checked(self) -> int:
        """Links that were checked in full."""
        return sum(link.check is Check.CHECKED for link in self.links)


def chain_of(trusted: TrustedManifest, held: Held) -> Chain:
    """The chain of evidence of a model; without weights it ends at the signatures."""
    stations = [_origin(trusted), _manifest(trusted), _signatures(trusted)]
    links = [_published(trusted, held), _signed(trusted)]
    if trusted.manifest.has_weights:
        stations += [_files(held), _receipt(held), _attestations(held)]
        links += [_right(held), _recorded(trusted, held), _attested(held)]
    return Chain(stations=tuple(stations), links=tuple(links))


def root_of(held: Held) -> str | None:
    """Root digest over all files (OpenSSF Model Signing); None where a SHA-256 is not known.

    A file that the manifest names by git's id alone has the SHA-256 that the receipt noted, where
    that file counts as verified.
    """
    noted = {} if held.receipt is None else {f.path: f.sha256 for f in held.receipt.files}
    digests = {}
    for file in held.files:
        known = noted.get(file.path) if file.state is Holding.VERIFIED else None
        if (digest := file.sha256 or known) is not None:
            digests[file.path] = digest
    return root_of_files(digests) if digests and len(digests) == len(held.files) else None


def named(anchor: Anchor, digits: int | None = None) -> str:
    """An anchor in a phrase: what it is and its value, whole or its first digits."""
    what = {
        AnchorKind.HUB_COMMIT: "Hub commit",
        AnchorKind.GIT_COMMIT: "git commit",
        AnchorKind.BTIH: "torrent infohash",
    }[anchor.kind]
    return f"{what} {anchor.value[:digits]}"


def registry_name(name: str) -> str:
    """A registry in a phrase."""
    return "the embedded registry" if name == "embedded" else f"the registry {name}"


def _origin(trusted: TrustedManifest) -> Station:
    manifest = trusted.manifest
    if made_from := converted_from(trusted.manifest):
        return Station(
            name="Converted from",
            facts=tuple(
                (label, made_from[key][: SHORT if key != "name" else 24])
                for label, key in (
                    ("model", "name"),
                    ("revision", "revision"),
                    ("manifest", "manifest_sha256"),
                    ("root digest", "root_sha256"),
                )
                if key in made_from
            ),
        )
    labels = {
        AnchorKind.HUB_COMMIT: "Hub commit",
        AnchorKind.GIT_COMMIT: "git commit",
        AnchorKind.BTIH: "infohash",
    }
    facts = [(labels[each.kind], each.value[:SHORT]) for each in manifest.anchors[:4]]
    return Station(
        name="Publisher",
        facts=tuple(facts) or (("identifiers", "none known"),),
        there=bool(facts),
    )


def _manifest(trusted: TrustedManifest) -> Station:
    manifest = trusted.manifest
    facts = [("sha256", trusted.sha256[:SHORT]), ("role", str(manifest.role))]
    if manifest.files:
        facts += [("files", f"{len(manifest.files):,}"), ("size", size_text(manifest.size))]
    else:
        facts.append(("files", "by commit" if manifest.has_weights else "none released"))
    return Station(name="Manifest", facts=tuple(facts))


def _signatures(trusted: TrustedManifest) -> Station:
    by = trusted.signed_by
    if by.root_sha256 is None:
        return Station(name="Signatures", facts=(("signed by", "nobody"),), there=False)
    return Station(
        name="Signatures",
        facts=(
            ("registry", by.registry),
            ("trust root", by.root_sha256[:SHORT]),
            ("keys", f"{len(by.keyids)}, {by.threshold} required"),
            ("expired" if by.expired else "expires", (by.expires or "unknown")[:10]),
        ),
    )


def _files(held: Held) -> Station:
    if not held.files:
        return Station(name="Files", facts=(("list", "not here"),), there=False)
    total, right = len(held.files), len(held.verified)
    facts = [("verified here", f"{right:,} of {total:,}")]
    span = checked_between(held.verified)
    if span is not None:
        facts.append(("last at", span[1][:10]))
    if (root := root_of(held)) is not None:
        facts.append(("root digest", root[:SHORT]))
    return Station(name="Files", facts=tuple(facts), there=held.here)


def _receipt(held: Held) -> Station:
    receipt = held.receipt
    if receipt is None:
        told = "damaged" if held.damage is not None else "none"
        return Station(name="Receipt", facts=(("receipt", told),), there=held.damage is not None)
    facts = [("written", receipt.finished[:10])]
    sources = sorted(receipt.source_bytes.items(), key=lambda item: -item[1])
    facts += [(name, size_text(count)) for name, count in sources[:2]]
    facts.append(("policy", receipt.policy.outcome if receipt.policy else "none bound"))
    return Station(name="Receipt", facts=tuple(facts))


def _attestations(held: Held) -> Station:
    if not held.attestations:
        return Station(name="Attestations", facts=(("listed", "none"),), there=False)
    intact = sum(each.intact for each in held.attestations)
    signed = sum(bool(each.keyids) for each in held.attestations)
    return Station(
        name="Attestations",
        facts=(
            ("intact", f"{intact} of {len(held.attestations)}"),
            ("signed", f"{signed} of {len(held.attestations)}"),
        ),
    )


def _published(trusted: TrustedManifest, held: Held) -> Link:
    manifest = trusted.manifest
    if made_from := converted_from(trusted.manifest):
        altered = alteration_of(manifest)
        return Link(
            check=Check.NOT_CHECKED,
            says=f"These files were converted from {made_from.get('name', 'another model')}"
            + (f" and ALTERED: {altered}" if altered else ", and hold its tensors")
            + ". That is the word of whoever converted it, and of the statement left beside them;"
            " this report did not compare the two.",
        )
    if not manifest.anchors:
        return Link(
            check=Check.NOT_CHECKED,
            says="The publisher published no identifier of the bytes that is known here, so"
            " nothing of its own binds the manifest.",
        )
    outcomes = [held.anchors.get(anchor.value) for anchor in manifest.anchors]
    sentences = [
        f"{named(anchor, SHORT)}: {'not compared here' if outcome is None else outcome.says}."
        for anchor, outcome in zip(manifest.anchors, outcomes, strict=True)
    ]
    if any(outcome is not None and not outcome.held for outcome in outcomes):
        check = Check.BROKEN
    elif all(outcome is not None for outcome in outcomes):
        check = Check.CHECKED
    elif any(outcome is not None for outcome in outcomes):
        check = Check.PARTLY
    else:
        check = Check.NOT_CHECKED
    return Link(check=check, says=" ".join(each[0].upper() + each[1:] for each in sentences))


def _signed(trusted: TrustedManifest) -> Link:
    by, manifest = trusted.signed_by, trusted.manifest
    if by.root_sha256 is None:
        return Link(
            check=Check.NOT_CHECKED,
            says="The manifest was given as a file and nobody signed it: whoever made the report"
            " vouches for it.",
        )
    whose = (
        "They are the registry's, not the publisher's: they say what was observed."
        if manifest.role is Role.OBSERVER
        else "The manifest's role is publisher: the publisher itself signs it."
    )
    held = (
        f"{plural(len(by.keyids), 'signature')} of {registry_name(by.registry)} hold"
        f" ({by.threshold} required), up to the trust root"
        f" {by.root_sha256[:SHORT]}. {whose}"
    )
    if by.expired:
        return Link(
            check=Check.PARTLY,
            says=f"{held} They expired at {by.expires}: newer manifests may exist.",
        )
    return Link(check=Check.CHECKED, says=f"{held} They hold until {by.expires}.")


def _right(held: Held) -> Link:
    if not held.files:
        return Link(
            check=Check.NOT_CHECKED,
            says="The list of files follows from the publisher's commit and is not on this"
            " machine, so there is nothing to hold files against.",
        )
    counts, total = held.counts, len(held.files)
    if counts[Holding.WRONG]:
        return Link(
            check=Check.BROKEN,
            says=f"{plural(counts[Holding.WRONG], 'file')} of {total:,} here"
            " differ from what the manifest names.",
        )
    right = counts[Holding.VERIFIED]
    if not right:
        told = "No file was fetched here" if not held.here else "No file here was hashed"
        return Link(check=Check.NOT_CHECKED, says=f"{told}, so no byte was held against a digest.")
    how = (
        "hashed for this report"
        if held.hashed_now
        else "hashed before, and unchanged since by size, times and inode"
    )
    says = f"{right:,} of {plural(total, 'file')} had the manifest's digest: {how}."
    return Link(check=Check.CHECKED if right == total else Check.PARTLY, says=says)


def _recorded(trusted: TrustedManifest, held: Held) -> Link:
    if held.damage is not None:
        return Link(check=Check.BROKEN, says=f"The receipt cannot be read: {held.damage}.")
    receipt = held.receipt
    if receipt is None:
        return Link(check=Check.NOT_CHECKED, says="There is no receipt: no fetch has ended here.")
    if differing := _differing(trusted, receipt):
        return Link(
            check=Check.BROKEN,
            says=f"The receipt records other bytes than the manifest lists for"
            f" {plural(len(differing), 'file')}: {', '.join(differing[:3])}.",
        )
    got = ", ".join(f"{size_text(n)} from {name}" for name, n in receipt.source_bytes.items() if n)
    says = (
        f"The receipt of {receipt.finished} records {plural(len(receipt.files), 'file')} with the"
        f" manifest's digests; {got or 'no byte'} came in. It is a record, not a proof: nobody"
        " signed it."
    )
    if receipt.policy is not None:
        says += f" Policies decided: {receipt.policy.outcome}."
    if receipt.manifest_sha256 != trusted.sha256:
        return Link(
            check=Check.PARTLY,
            says=f"{says} It went by another manifest, {receipt.manifest_sha256[:SHORT]}.",
        )
    return Link(check=Check.CHECKED, says=says)


def _differing(trusted: TrustedManifest, receipt: Receipt) -> list[str]:
    entries = {entry.path: entry for entry in trusted.manifest.files}
    return [
        file.path
        for file in receipt.files
        if (entry := entries.get(file.path)) is None
        or entry.size != file.size
        or entry.sha256 not in (None, file.sha256)
    ]


def _attested(held: Held) -> Link:
    if not held.attestations:
        return Link(check=Check.NOT_CHECKED, says="The receipt lists no attestation.")
    wrong = [each for each in held.attestations if not each.intact]
    if wrong:
        told = "; ".join(f"{each.path} is {each.state}" for each in wrong[:3])
        return Link(check=Check.BROKEN, says=f"Of the attestations that the receipt lists, {told}.")
    about = "about this very model"
    if root_of(held) is None:
        about = "but not compared with this model, since not every SHA-256 of its files is known"
    return Link(
        check=Check.PARTLY,
        says=f"{plural(len(held.attestations), 'attestation')} found as listed, {about}. Who made"
        " them was not judged: no public key was given.",
    )
