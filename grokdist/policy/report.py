"""A report on a model, and the document behind its page: what is known, by whom, and what is not.

Gathers what the other parts of ``policy`` say of one manifest and of what a machine holds of it.
Pure: the caller has verified signatures and looked at the disk. The page is in ``report_html.py``.
"""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from typing import Any

import grokdist
from grokdist.catalog.alteration import alteration_of
from grokdist.catalog.converted import converted_from
from grokdist.catalog.manifest import Manifest, TrustedManifest
from grokdist.policy.obligations import ADVICE, statement_of
from grokdist.policy.openness import Openness, openness_document, rate
from grokdist.policy.report_chain import Chain, chain_of, root_of
from grokdist.policy.report_files import Held
from grokdist.policy.report_licence import LicenceFacts, licence_facts
from grokdist.policy.report_unchecked import Unchecked, unchecked

SCHEMA = "grokdist/report/v1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that a page says.

    Attributes:
        trusted: the manifest, and who vouches for it.
        held: what this machine holds.
        openness: how open the model is.
        licence: what is known of its licence.
        chain: the chain of evidence.
        unchecked: what was not checked.
        root: root digest over all files; None where it is not known.
        target: how the person named the model, for the commands that show it again.
        made: UTC time of the report.
    """

    trusted: TrustedManifest
    held: Held
    openness: Openness
    licence: LicenceFacts
    chain: Chain
    unchecked: tuple[Unchecked, ...]
    root: str | None
    target: tuple[str, ...]
    made: str

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.trusted.manifest

    @property
    def commands(self) -> tuple[str, ...]:
        """Commands that show the same again."""
        again = [f"grokdist report {shlex.join(self.target)} --html report.html"]
        if self.held.here:
            again.insert(0, f"grokdist verify {shlex.join(self.target)}")
        elif self.manifest.has_weights:
            again.insert(0, f"grokdist fetch {shlex.join(self.target)} --dry-run")
        return tuple(again)


def make_report(
    trusted: TrustedManifest, held: Held, *, target: tuple[str, ...], made: str
) -> Report:
    """The report on a model.

    Args:
        trusted: its manifest, whose signatures were checked as it says.
        held: what is here; ``held.files`` is one for each file of the manifest.
        target: the arguments by which the person named the model.
        made: UTC time.
    """
    openness, licence = rate(trusted.manifest), licence_facts(trusted.manifest)
    return Report(
        trusted=trusted,
        held=held,
        openness=openness,
        licence=licence,
        chain=chain_of(trusted, held),
        unchecked=unchecked(trusted, held, openness, licence),
        root=root_of(held),
        target=target,
        made=made,
    )


def report_document(report: Report) -> dict[str, Any]:
    """What ``--json`` prints: everything that the page says."""
    manifest, held, signed_by = report.manifest, report.held, report.trusted.signed_by
    licence = report.licence
    return {
        "schema": SCHEMA,
        "notice": manifest.summary,
        "model": manifest.name,
        "title": manifest.title,
        "publisher": manifest.publisher,
        "revision": manifest.revision,
        "released": manifest.released,
        "format": manifest.format,
        "files": len(manifest.files),
        "bytes": manifest.size,
        "weights_released": manifest.has_weights,
        "converted_from": converted_from(manifest) or None,
        "altered": alteration_of(manifest),
        "license": {
            "expression": manifest.license.expression,
            "name": manifest.license.name,
            "open_source": licence.open_source,
            "statement": statement_of(manifest.license),
            "scope": manifest.license.scope,
            "covers": list(manifest.license.covers),
            "excludes": list(manifest.license.excludes),
            "note": manifest.license.note,
            "text_sha256": manifest.license.text_sha256,
            "evidence": manifest.license.evidence,
            "obligations": [
                {"expression": name, "known": False}
                if summary is None
                else {
                    "known": True,
                    "of_this_text": licence.of_this_text[name],
                    **asdict(summary),
                }
                for name, summary in licence.summaries.items()
            ],
            "acceptance_required": None if licence.asked is None else str(licence.asked),
            "acceptance": None if held.acceptance is None else asdict(held.acceptance),
            "fault": licence.fault,
            "advice": ADVICE,
        },
        "openness": openness_document(report.openness),
        "chain": {
            "stations": [
                {"name": each.name, "there": each.there, "facts": dict(each.facts)}
                for each in report.chain.stations
            ],
            "links": [
                {
                    "from": report.chain.stations[at].name,
                    "to": report.chain.stations[at + 1].name,
                    "check": str(link.check),
                    "says": link.says,
                }
                for at, link in enumerate(report.chain.links)
            ],
        },
        "states": {str(state): count for state, count in held.counts.items()},
        "holdings": [
            {
                "path": file.path,
                "size": file.size,
                "sha256": file.sha256,
                "state": str(file.state),
                "have": file.have,
                "checked_at": file.checked_at,
                "fault": file.fault,
            }
            for file in held.files
        ],
        "extra": list(held.extra),
        "receipt": _receipt_document(held),
        "attestations": [asdict(each) for each in held.attestations],
        "not_checked": [asdict(each) for each in report.unchecked],
        "statement": manifest.statement,
        "role": str(manifest.role),
        "manifest_sha256": report.trusted.sha256,
        "root_digest": report.root,
        "signed_by": asdict(signed_by),
        "hashed_now": held.hashed_now,
        "made": report.made,
        "tool": f"grokdist {grokdist.__version__}",
        "commands": list(report.commands),
    }


def _receipt_document(held: Held) -> dict[str, Any] | None:
    if held.damage is not None:
        return {"damage": held.damage}
    receipt = held.receipt
    if receipt is None:
        return None
    return {
        "damage": None,
        "started": receipt.started,
        "finished": receipt.finished,
        "tool": receipt.tool,
        "manifest_sha256": receipt.manifest_sha256,
        "files": len(receipt.files),
        "include": list(receipt.include),
        "source_bytes": dict(receipt.source_bytes),
        "license": asdict(receipt.license),
        "policy": None if receipt.policy is None else asdict(receipt.policy),
    }
