"""A plan as ``--dry-run`` prints it: for programs and for people, from the object that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grokdist.cli.format import bytes_text, count_text, duration_text, facts_text
from grokdist.transfer.plan import FileState, Plan

if TYPE_CHECKING:
    from grokdist.transfer.plan import PlannedSource

_STATES = {
    FileState.VERIFIED: "right",
    FileState.PRESENT: "to be hashed first",
    FileState.PARTIAL: "begun",
    FileState.MISSING: "missing",
    FileState.WRONG: "of another size or kind, to be replaced",
}


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as ``--dry-run --json`` prints it."""
    manifest = plan.request.trusted.manifest
    return {
        "model": manifest.name,
        "revision": manifest.revision,
        "dir": str(plan.request.directory),
        "files": len(plan.files),
        "bytes": plan.size,
        "fetch_bytes": plan.fetch_bytes,
        "check_bytes": plan.check_bytes,
        "disk_needed": plan.disk_needed,
        "disk_free": plan.disk_free,
        "fits": plan.fits,
        "license": manifest.license.expression,
        "openness": plan.request.openness,
        "sources": [
            {"name": s.name, "kind": str(s.kind), "files": s.files, "bytes": s.size}
            for s in plan.sources
        ],
        "sourceless": list(plan.sourceless),
        "plan": [
            {
                "path": file.entry.path,
                "size": file.entry.size,
                "state": str(file.state),
                "have": file.have,
                "sources": list(file.sources),
            }
            for file in plan.files
        ],
        "dry_run": True,
    }


def plan_text(plan: Plan) -> str:
    """The plan for people: what, how much, from where, and whether the disk has room."""
    from grokdist.policy.acceptance import describe, required_acceptance
    from grokdist.policy.notice import notice

    manifest = plan.request.trusted.manifest
    rows = [
        ("model", f"{manifest.title} at {manifest.revision}"),
        ("files", f"{count_text(len(plan.files), 'file')}, {bytes_text(plan.size)}"),
        *_here(plan),
        ("to fetch", f"{bytes_text(plan.fetch_bytes)} ({plan.fetch_bytes:,} bytes)"),
        ("into", str(plan.request.directory)),
        ("disk", _disk(plan)),
        *[("source", _source(plan, source)) for source in plan.sources],
    ]
    if plan.sourceless:
        rows.append(("no source", f"{count_text(len(plan.sourceless), 'file')}"))
    rows += [("time", _time(plan)), ("licence", describe(manifest.license))]
    if (required := required_acceptance(manifest)) is not None:
        rows.append(("", f"asks for your acceptance: --accept-license '{required}'"))
    rows.append(("openness", plan.request.openness or "not rated"))
    return f"{notice(manifest)}\n\n{facts_text(rows)}"


def _here(plan: Plan) -> list[tuple[str, str]]:
    """What is here of the files, a line a state; one line where nothing is."""
    lines = []
    for state, words in _STATES.items():
        files = [file for file in plan.files if file.state is state]
        if not files:
            continue
        have, size = sum(file.have for file in files), sum(file.entry.size for file in files)
        amount = bytes_text(size)
        if state is FileState.PARTIAL:
            amount = f"{bytes_text(have)} of {amount}"
        lines.append(f"{count_text(len(files), 'file')} {words}, {amount}")
    return [("here" if place == 0 else "", line) for place, line in enumerate(lines)]


def _disk(plan: Plan) -> str:
    room = "fits" if plan.fits else f"{bytes_text(plan.disk_needed - plan.disk_free)} short"
    here = plan.size - plan.fetch_bytes
    counted = f" besides {bytes_text(here)} that are here" if here else ""
    return (
        f"{bytes_text(plan.disk_needed)} needed{counted}, {bytes_text(plan.disk_free)} free: {room}"
    )


def _source(plan: Plan, source: PlannedSource) -> str:
    wanted = sum(file.state is not FileState.VERIFIED for file in plan.files)
    if not wanted:
        return f"{source.name}: not needed"
    if not source.files:
        return f"{source.name}: none of {count_text(wanted, 'file')}"
    files = f"{source.files:,} of {count_text(wanted, 'file')}"
    return f"{source.name}: up to {files}, {bytes_text(source.size)}"


def _time(plan: Plan) -> str:
    """No promise: a rate is known once bytes arrive. A limit of the user's own is a bound."""
    if not plan.fetch_bytes:
        return "nothing to fetch"
    if plan.request.max_rate is None:
        return "not known before bytes arrive"
    least = plan.fetch_bytes / plan.request.max_rate
    return f"at least {duration_text(least)} at {bytes_text(plan.request.max_rate)}/s"
