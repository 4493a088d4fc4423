"""What a report did not check: exact sentences, so that nobody takes silence for a yes.

From the manifest's own words, its signatures, what is here of the files, the receipt, the licence
and the attestations. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.converted import converted_from
from grokdist.catalog.index_rating import RatedBy
from grokdist.catalog.manifest import Availability, Role, TrustedManifest
from grokdist.policy.mof import ComponentVerdict
from grokdist.policy.openness import Openness
from grokdist.policy.report_chain import named, root_of
from grokdist.policy.report_files import (
    Held,
    HeldAttestation,
    Holding,
    checked_between,
    plural,
    some,
)
from grokdist.policy.report_licence import LicenceFacts
from grokdist.trust.attestations.svr import Mode

_MOST = 50
"""Most sentences taken over from a manifest's own list."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unchecked:
    """One thing that was not checked.

    Attributes:
        topic: what it is about: ``origin``, ``signatures``, ``files``, ``receipt``, ``licence``,
            ``attestations`` or ``openness``.
        says: a sentence or two.
    """

    topic: str
    says: str


def unchecked(
    trusted: TrustedManifest, held: Held, openness: Openness, licence: LicenceFacts
) -> tuple[Unchecked, ...]:
    """Everything that was not checked, by topic in the order of the chain of evidence."""
    topics = {
        "origin": _origin(trusted, held),
        "signatures": _signatures(trusted),
        "files": _files(trusted, held),
        "receipt": _receipt(trusted, held),
        "licence": _licence(trusted, held, licence),
        "attestations": _attestations(held),
        "openness": _openness(openness),
    }
    return tuple(
        Unchecked(topic=topic, says=says) for topic, found in topics.items() for says in found
    )


def _origin(trusted: TrustedManifest, held: Held) -> Iterator[str]:
    manifest = trusted.manifest
    if manifest.role is Role.OBSERVER:
        yield (
            f"That {manifest.publisher} made these bytes: the manifest observes what stood at its"
            " address, and the publisher signed nothing of it."
            if manifest.has_weights
            else f"That {manifest.publisher} says so itself: the manifest observes, and the"
            " publisher signed nothing of it."
        )
    observation: Any = manifest.extra.get("observation")
    listed = observation.get("not_checked") if isinstance(observation, dict) else None
    for each in (listed if isinstance(listed, list) else [])[:_MOST]:
        if isinstance(each, str) and each.isprintable() and each.strip():
            yield f"By the manifest's own account: {each.strip().rstrip('.')}."
    for anchor in manifest.anchors:
        outcome = held.anchors.get(anchor.value)
        if outcome is None:
            yield (
                f"Whether the list of files is that of {named(anchor)}: it was not compared on"
                " this machine."
            )
        elif not outcome.held:
            yield f"{_first_up(named(anchor))} does not fit: {outcome.says}."
    if altered := alteration_of(trusted.manifest):
        yield f"How far the model is from the original, of which it has {altered}."
    elif converted_from(trusted.manifest):
        yield "That the converted files hold the tensors of the original: only their maker says so."


def _signatures(trusted: TrustedManifest) -> Iterator[str]:
    by = trusted.signed_by
    if by.root_sha256 is None:
        yield "The manifest is not signed: nobody but whoever gave the file vouches for it."
    elif by.expired:
        yield (
            f"Whether the manifest is the newest: its signatures expired at {by.expires}, and"
            " nobody was asked for newer ones."
        )
    else:
        yield "Whether a newer manifest exists: the report works offline and asks nobody."


def _files(trusted: TrustedManifest, held: Held) -> Iterator[str]:
    manifest, counts = trusted.manifest, held.counts
    if not manifest.has_weights:
        return
    if not held.files:
        yield (
            "Any file: their list follows from the publisher's commit, and is not kept on this"
            f" machine (grokdist manifest pin {manifest.name} fetches it)."
        )
        return
    total = len(held.files)
    if not held.here:
        yield f"Any byte of the {plural(total, 'file')}: the model was not fetched here."
    for state in (Holding.NOT_FETCHED, Holding.PRESENT, Holding.PARTIAL, Holding.MISSING):
        paths = [file.path for file in held.files if file.state is state]
        if paths and held.here:
            yield f"{plural(len(paths), 'file')} {_STATES[state]}: {some(paths)}."
    wrong = [file for file in held.files if file.state is Holding.WRONG]
    if wrong:
        yield (
            f"{plural(len(wrong), 'file')} {_are(wrong)} not what the manifest names:"
            f" {some(file.path for file in wrong)}."
        )
    if counts[Holding.VERIFIED] and not held.hashed_now:
        yield (
            f"{plural(counts[Holding.VERIFIED], 'file')} were not read for this report: each is"
            " as it was when it was last hashed, by size, times and inode"
            f"{_when(held)}. That finds accidents, not adversaries."
        )
    by_git = [entry.path for entry in manifest.files if entry.sha256 is None]
    if by_git:
        yield (
            f"{plural(len(by_git), 'file')} by SHA-256: the manifest names them by git's SHA-1"
            f" object id alone: {some(by_git)}."
        )
    if held.extra:
        yield (
            f"{plural(len(held.extra), 'file')} in the directory that the manifest does not list:"
            f" {some(held.extra)}."
        )


_STATES = {
    Holding.NOT_FETCHED: "not fetched",
    Holding.PRESENT: "here, but not held against a digest since they last changed",
    Holding.PARTIAL: "here in part only",
    Holding.MISSING: "missing, though they should be here",
}


def _receipt(trusted: TrustedManifest, held: Held) -> Iterator[str]:
    receipt = held.receipt
    if held.damage is not None:
        yield f"What the receipt says: it cannot be read ({held.damage})."
    elif receipt is None:
        if held.here:
            yield "Where the bytes came from and when: no fetch into the directory has ended."
    else:
        yield (
            "Where the bytes came from, when, and what policies decided: the receipt says so, and"
            " nobody signed it."
        )
        if receipt.include:
            yield f"All of the model: the fetch asked only for {some(receipt.include)}."
        if receipt.manifest_sha256 != trusted.sha256:
            yield (
                f"The manifest that the fetch went by, {receipt.manifest_sha256}: files were held"
                " against the current one."
            )


def _licence(trusted: TrustedManifest, held: Held, facts: LicenceFacts) -> Iterator[str]:
    manifest = trusted.manifest
    if not manifest.has_weights:
        return
    if facts.fault is not None or facts.text is None:
        yield f"What the licence allows and asks: {facts.fault or 'it is not known'}."
        return
    licence = manifest.license
    if licence.text_sha256 is None:
        blob = facts.text.git_blob
        told = f", which the manifest names by git's id {blob}" if blob is not None else ""
        yield f"The licence text{told}: whoever wrote the manifest did not see it."
    for expression, summary in facts.summaries.items():
        if summary is None:
            yield f"What {expression} allows and asks: nobody here summed it up; read its text."
        elif facts.of_this_text[expression] is False:
            yield f"This release's text of {expression}: the summary was made of another one."
        elif facts.of_this_text[expression] is None:
            yield f"Whether this release's text of {expression} is the one that was summed up."
    if licence.scope is None and not licence.covers:
        yield "What the licence covers: the publisher does not say, as far as is known here."
    if facts.asked is not None and held.acceptance is None:
        yield f"Consent: the licence asks for it, and none is recorded here ({facts.asked})."


def _attestations(held: Held) -> Iterator[str]:
    for each in held.attestations:
        if not each.intact:
            yield f"{each.path}, which the receipt lists: {each.state} ({each.fault or 'no more'})."
            continue
        if (limit := _limit(each)) is not None:
            yield f"{each.path}{_of(each.created)}: {limit}"
    intact = [each for each in held.attestations if each.intact]
    if intact and root_of(held) is None:
        yield (
            f"Whether {plural(len(intact), 'attestation')} are about this model: not every SHA-256"
            " of its files is known here."
        )
    signed = [each for each in intact if each.keyids]
    if signed:
        yield f"Whose keys signed {plural(len(signed), 'attestation')}: none was given to compare."
    unsigned = [each.path for each in intact if not each.keyids]
    if unsigned:
        yield f"Who made {plural(len(unsigned), 'unsigned attestation')}: {some(unsigned)}."
    if held.receipt is not None and not held.attestations:
        yield "Attestations: the receipt lists none."


_LIMITS = {
    Mode.QUICK: "files unchanged by size, times and inode were not read again.",
    Mode.SAMPLE: "only blocks drawn at random were read.",
    Mode.RANGE: "only some bytes of one file were read.",
}


def _limit(attestation: HeldAttestation) -> str | None:
    """What an attested verification left out; None where it says that it left out nothing."""
    for held in attestation.properties:
        for mode, says in _LIMITS.items():
            if held.startswith(mode):
                return says
        if held.startswith(tuple(Mode)) and held.endswith("_IN_PART"):
            return "only a part of the files was checked."
    return None


def _openness(openness: Openness) -> Iterator[str]:
    yield "The pages named as evidence: links are given as recorded; the report opens none."
    unknown = [verdict for verdict in openness.mof.components if _is_unknown(verdict)]
    if unknown:
        yield (
            f"{len(unknown)} of {len(openness.mof.components)} components: no source says whether"
            f" they were released: {some((v.component.name for v in unknown), 17)}."
        )
    if openness.index is None:
        yield "A rating of the European Open Source AI Index: there is none of this model."
    elif openness.index.rated_by is not RatedBy.INDEX:
        yield "The European index's own rating: it has none; what is shown is grokdist's draft."


def _is_unknown(verdict: ComponentVerdict) -> bool:
    return verdict.availability in (None, Availability.UNKNOWN)


def _when(held: Held) -> str:
    span = checked_between(held.verified)
    if span is None:
        return "; when that was is not recorded"
    first, last = span
    told = f" at {first}" if first == last else f" between {first} and {last}"
    unnoted = sum(file.checked_at is None for file in held.verified)
    return told + (f" (of {unnoted:,} the time is not recorded)" if unnoted else "")


def _of(created: str | None) -> str:
    return "" if created is None else f" of {created}"


def _are(files: Iterable[object]) -> str:
    return "is" if len(list(files)) == 1 else "are"


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
