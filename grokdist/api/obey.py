"""Policies at work: which bind here, what they say of a model, and the stop where they refuse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from grokdist.api.voice import Voice
from grokdist.errors import PolicyError, TrustError
from grokdist.settings import policy_paths

if TYPE_CHECKING:
    from pathlib import Path

    from grokdist.catalog.manifest import Manifest, TrustedManifest
    from grokdist.policy.decision import Decision
    from grokdist.policy.policy_file import Policy
    from grokdist.trust.receipt import ReceiptPolicy


def binding_policies(given: Iterable[Path] = ()) -> tuple[Policy, ...]:
    """The policies that bind here: those given, else those of machine, user and project.

    Raises:
        UsageError: one of them cannot be read; none then counts as allowing.
    """
    paths = tuple(given) or tuple(path for path in policy_paths() if path.exists())
    if not paths:
        return ()
    from grokdist.policy.policy_file import read_policy

    return tuple(read_policy(path) for path in paths)


def obey(
    policies: Iterable[Policy],
    trusted: TrustedManifest,
    voice: Voice,
    *,
    action: str,
    sources: Iterable[str] = (),
    directory: Path | None = None,
) -> ReceiptPolicy | None:
    """Have policies decide on a model before something is done with it; say what they found.

    Args:
        policies: those that bind.
        trusted: the model's manifest, with what vouches for it.
        voice: where findings that do not refuse are said.
        action: what is to be done, e.g. ``fetch grok-2``.
        sources: names of the sources that were asked for, or that the bytes came from.
        directory: where the files are; None where they are not here yet.

    Returns:
        The record for the receipt; None where no policy binds.

    Raises:
        PolicyError: a policy refuses.
    """
    policies = tuple(policies)
    if not policies:
        return None
    from grokdist.policy.decision import refuse

    decisions = decisions_on(policies, trusted, sources=tuple(sources), directory=directory)
    refuse(decisions, action=action)
    for decision in decisions:
        for finding in decision.findings:
            if finding.exemption is None:
                voice.warning(f"policy {decision.policy.path}: {finding.message} [{finding.rule}]")
            else:
                voice.note(
                    f"policy {decision.policy.path}: {finding.message} [{finding.rule}];"
                    f" excepted until {finding.exemption.expires}: {finding.exemption.reason}"
                )
    return record(decisions)


def decisions_on(
    policies: Iterable[Policy],
    trusted: TrustedManifest,
    *,
    sources: tuple[str, ...] = (),
    directory: Path | None = None,
) -> tuple[Decision, ...]:
    """Every policy's decision on a model today, UTC.

    ``sources`` are those asked for or used. The manifest's own are looked at too: an auditing
    policy reports each it does not allow; an enforcing one leaves those unused, and so finds fault
    only where none remains.
    """
    from datetime import UTC, datetime

    from grokdist.policy.decision import Case, allows_source, decide, source_name
    from grokdist.policy.policy_file import Mode

    manifest = trusted.manifest
    listed = tuple(source_name(source) for source in manifest.sources)
    decisions = []
    for policy in policies:
        asked = sources
        usable = any(allows_source((policy,), source) for source in manifest.sources)
        if not sources and (policy.mode is Mode.AUDIT or not usable):
            asked = listed
        signers, fault = _model_signers(policy, manifest, directory)
        case = Case(
            manifest=manifest,
            signed_by=trusted.signed_by,
            sources=asked,
            model_signers=signers,
            model_fault=fault,
        )
        decisions.append(decide(policy, case, today=datetime.now(UTC).date()))
    return tuple(decisions)


def _model_signers(
    policy: Policy, manifest: Manifest, directory: Path | None
) -> tuple[int | None, str | None]:
    """How many of a policy's model keys signed the files that are here, and what was wrong."""
    if directory is None or not policy.signature.model_keys:
        return None, None
    from grokdist.transfer.model_signers import model_signers
    from grokdist.trust.keys import load_verifying_key

    # Without the keys nothing can be said: that they cannot be read is the policy's fault.
    keys = [load_verifying_key(path) for path in policy.signature.model_keys]
    digests = {entry.path: entry.sha256 for entry in manifest.files if entry.sha256 is not None}
    try:
        return len(model_signers(directory, digests, keys)), None
    except TrustError as error:
        return 0, str(error)


def refuse_unverified(policies: Iterable[Policy], target: str) -> None:
    """Refuse a directory of which nothing is known, where any policy is enforced.

    Raises:
        PolicyError: one is.
    """
    from grokdist.policy.policy_file import Mode

    for policy in policies:
        if policy.mode is Mode.ENFORCE:
            raise PolicyError(
                f"the policy {policy.path} cannot be met by {target}: nothing is known of it;"
                " expected a model with a manifest",
                hint=f"grokdist manifest new {target}",
            )


def record(decisions: Iterable[Decision]) -> ReceiptPolicy:
    """What policies decided, for a receipt."""
    from grokdist.policy.decision import Outcome
    from grokdist.trust.receipt import ReceiptPolicy

    decisions = tuple(decisions)
    order = list(Outcome)
    return ReceiptPolicy(
        outcome=str(max((each.outcome for each in decisions), key=order.index)),
        policies=tuple(each.policy.sha256 for each in decisions),
        findings=tuple(
            f"{finding.rule}: {finding.message}"
            + (f" (excepted: {finding.exemption.reason})" if finding.exemption else "")
            for each in decisions
            for finding in each.findings
        ),
    )
