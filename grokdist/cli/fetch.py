"""``grokdist fetch``: plan, fetch, verify, record."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from grokdist.cli import attesting, cluster, completion, options, share, swarm
from grokdist.cli.events import beside, event_stream
from grokdist.cli.exit_codes import ExitCode
from grokdist.cli.format import (
    bytes_text,
    count_text,
    duration_text,
    parse_rate,
)
from grokdist.cli.output import Output
from grokdist.errors import UsageError

if TYPE_CHECKING:
    from grokdist.api.consent import AskConsent
    from grokdist.catalog.manifest import Manifest, TrustedManifest
    from grokdist.transfer.engine import FetchResult
    from grokdist.transfer.plan import FetchRequest

_ASK_ABOVE = 10_000_000_000


def fetch(
    model: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.model_names, help="Name of a model in the catalog."
        ),
    ],
    source: Annotated[
        list[str] | None,
        typer.Option(
            help="hub, torrent, https or local: use only these; or one more source as"
            " hub:ORG/NAME[@REVISION], https://URL/ or local:FOLDER."
        ),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where the files go; default: the store.")
    ] = None,
    include: Annotated[
        list[str] | None, typer.Option(help="Only the files whose path matches this pattern.")
    ] = None,
    for_mesh: Annotated[
        str | None,
        typer.Option(help="Only the files that this host's devices load, of a mesh over hosts."),
    ] = None,
    processes: cluster.Processes = None,
    process: cluster.Process = None,
    peer: swarm.Peer = None,
    tracker: swarm.Tracker = None,
    torrent: swarm.Torrent = None,
    dht: swarm.Dht = True,
    lsd: swarm.Lsd = True,
    upnp: swarm.Upnp = True,
    utp: swarm.Utp = False,
    encryption: swarm.EncryptionMode = "prefer",
    interface: swarm.Interface = "",
    port: swarm.Port = None,
    max_upload: swarm.MaxUpload = None,
    max_rate: Annotated[
        str | None, typer.Option(help="Bytes a second over all sources: 500k, 10M.")
    ] = None,
    connections: Annotated[
        int | None, typer.Option(min=1, max=64, help="Most connections to one HTTP source.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use folders of this machine only, no network.")
    ] = False,
    preallocate: Annotated[
        bool, typer.Option("--preallocate", help="Reserve the room of each file as it is begun.")
    ] = False,
    trees: Annotated[
        bool, typer.Option(help="Build hash trees behind the fetch, to find damage by.")
    ] = True,
    shared: share.Share = False,
    share_peer: share.SharePeer = None,
    share_listen: share.ShareListen = None,
    share_bind: share.ShareBind = None,
    share_key: share.ShareKey = None,
    share_multicast: share.ShareMulticast = True,
    share_linger: share.ShareLinger = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; do nothing.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Hash what is here again and fetch what is bad.")
    ] = False,
    seed_ratio: Annotated[
        float, typer.Option(min=0, help="Share what came by torrent until this ratio.")
    ] = 0.0,
    accept_license: Annotated[
        str | None, typer.Option(help="Accept a licence: ID or ID@sha256:HEX.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Fetch by this manifest file; its signer is you.")
    ] = None,
    strict_freshness: options.StrictFreshness = False,
    link: Annotated[
        bool,
        typer.Option(
            "--link",
            help="Give whole files of local sources a second name rather than copy them: who"
            " writes to the one later writes to both.",
        ),
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for another fetch that uses the directory.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a large fetch.")] = False,
    attest: attesting.Attest = True,
    attest_key: attesting.AttestKey = None,
    events: Annotated[
        str | None,
        typer.Option(help="Write what happens as JSON lines: a file, - for stderr, or fd:N."),
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Fetch a model from every source at once, verify it and write a receipt."""
    from grokdist.api.consent import consent
    from grokdist.api.lookup import require_weights, trusted_manifest, with_files
    from grokdist.api.obey import binding_policies, obey
    from grokdist.api.request import asked_for, make_request
    from grokdist.cli.host_part import host_part, include_for
    from grokdist.cli.plan_text import plan_document, plan_text
    from grokdist.cli.progress import showing
    from grokdist.policy.notice import notice
    from grokdist.transfer.engine import fetch as run_plan
    from grokdist.transfer.plan import make_plan
    from grokdist.transfer.sources.resolve import build_sources
    from grokdist.transfer.store import Store

    out = beside(Output(json=json, quiet=quiet, verbose=verbose), events)
    if for_mesh is not None and include:
        raise UsageError("--for-mesh and --include were given; expected one of them")
    part = None if for_mesh is None else host_part(for_mesh, processes, process)
    keys = attesting.signing_keys(attest_key) if attest else ()
    with contextlib.ExitStack() as open_until_done:
        told = open_until_done.enter_context(event_stream(events))
        trusted = trusted_manifest(model, manifest, out, strict_freshness=strict_freshness)
        require_weights(trusted.manifest)
        trusted = with_files(trusted, out, online=not offline)
        wanted = trusted.manifest
        if not dry_run:
            out.note(notice(wanted))
        patterns = tuple(include or ()) if part is None else include_for(wanted, part, out)
        policies = binding_policies()
        request = make_request(
            trusted,
            directory=directory,
            policies=policies,
            policy=obey(
                policies,
                trusted,
                out,
                action=f"fetch {wanted.name}",
                sources=asked_for(source or (), torrent),
            ),
            source=tuple(source or ()),
            include=patterns,
            peers=tuple(swarm.parse_peers(peer)),
            trackers=tuple(tracker or ()),
            torrent=swarm.parse_torrent(torrent) if torrent else None,
            swarm=swarm.swarm_settings(
                dht=dht,
                lsd=lsd,
                upnp=upnp,
                utp=utp,
                encryption=encryption,
                interface=interface,
                port=port,
                max_upload=max_upload,
            ),
            max_rate=parse_rate(max_rate) if max_rate else None,
            connections=connections,
            offline=offline,
            preallocate=preallocate,
            trees=trees,
            repair=repair,
            link=link,
            wait=wait,
            accepted_by=None
            if dry_run
            else consent(
                wanted,
                accept_license,
                out,
                how="fetch --accept-license",
                ask=_ask_consent(out),
            ),
        )
        session = None
        if shared:
            settings = share.share_settings(
                trusted,
                peers=share_peer or (),
                listen=share_listen,
                bind=share_bind,
                key=share_key,
                multicast=share_multicast,
                linger=share_linger,
            )
            session = open_until_done.enter_context(share.sharing(request, settings, out))
        plan = make_plan(request, share.shared_sources(session, lambda: build_sources(request)))
        told.start("fetch", lambda: plan_document(plan))
        if dry_run:
            plan.close()
            told.done(plan_document(plan))
            out.result(plan_document(plan), plan_text(plan))
            return
        # The engine asks for room too; nobody is asked to confirm what cannot be.
        plan.require_space()
        if not yes and plan.fetch_bytes > _ASK_ABOVE and sys.stdin.isatty():
            typer.confirm(f"Fetch {bytes_text(plan.fetch_bytes)}?", err=True, abort=True)
        store = Store()
        store.prepare()
        listeners = [*told.listeners]
        if session is not None:
            session.begin(plan)
            listeners.append(session.listener)
        verified: list[FetchResult] = []
        unheard: list[BrokenPipeError] = []

        def say(result: FetchResult) -> None:
            verified.append(result)
            store.note_elsewhere(result.directory, wanted.name, wanted.revision)
            document = result_document(trusted, result)
            told.verified(document)
            # Said at once: the hash trees that may still be built are for another day.
            try:
                out.result(document, _result_text(trusted, result))
            except BrokenPipeError as error:
                # Not a fault of the disk, as which the engine would take it.
                unheard.append(error)

        try:
            with showing(out, *listeners) as progress:
                if session is not None:
                    session.note = progress.note
                try:
                    run_plan(plan, progress, on_verified=say)
                except KeyboardInterrupt:
                    if not verified:
                        raise
                    out.note(
                        "interrupted while hash trees were built; all files are verified, and"
                        f" grokdist verify {verified[0].directory} --trees builds the rest"
                    )
                    raise SystemExit(ExitCode.INTERRUPTED) from None
        finally:
            # Also where the trees were interrupted: the files are verified all the same.
            if attest and verified:
                attesting.attest_fetched(trusted, verified[0], again=repair, keys=keys, out=out)
        if unheard:
            raise unheard[0]
        if session is not None:
            share.linger(session, out, stay=share_linger is not None)
    if seed_ratio:
        _seed(request, seed_ratio, out)


def result_document(trusted: TrustedManifest, result: FetchResult) -> dict[str, Any]:
    """What a fetch did, as ``--json`` prints it."""
    return {
        "model": trusted.manifest.name,
        "revision": trusted.manifest.revision,
        "dir": str(result.directory),
        "files": result.files,
        "bytes": result.size,
        "fetched_bytes": result.fetched_bytes,
        "seconds": round(result.seconds, 3),
        "sources": dict(result.sources),
        "verified": True,
    }


def _result_text(trusted: TrustedManifest, result: FetchResult) -> str:
    came = ", ".join(f"{name} {bytes_text(count)}" for name, count in result.sources.items())
    fetched = f"fetched {bytes_text(result.fetched_bytes)} in {duration_text(result.seconds)}"
    return (
        f"{trusted.manifest.name} verified: {count_text(result.files, 'file')},"
        f" {bytes_text(result.size)} in {result.directory}\n"
        f"{fetched}{f' ({came})' if came else ''}; receipt written"
    )


def _ask_consent(out: Output) -> AskConsent | None:
    """The question about a licence; none where nobody is there to answer it."""
    if out.json or not sys.stdin.isatty():
        return None

    def ask(manifest: Manifest) -> bool:
        from grokdist.policy.acceptance import describe

        out.note(f"{manifest.title} is under {describe(manifest.license)}.")
        if manifest.license.evidence:
            out.note(f"Its text: {manifest.license.evidence}")
        out.note(f"What it asks, in a minute: grokdist license show {manifest.name}")
        return typer.confirm("Do you accept this licence?", err=True)

    return ask


def _seed(request: FetchRequest, ratio: float, out: Output) -> None:
    """Give back what was taken, until ``ratio`` or an interrupt."""
    import threading

    from grokdist.cli.licence_along import lacks
    from grokdist.transfer.sharing import known_torrent, listed_torrent, share
    from grokdist.transfer.sources.resolve import swarm_settings

    named = request.torrent or listed_torrent(request.trusted.manifest)
    files = known_torrent(named, request.directory) if named is not None else None
    if files is not None:
        lacks(request.trusted.manifest, (file.path for file in files.files), out.note)
    out.note(f"sharing until ratio {ratio:g}; interrupt to stop")
    stop = threading.Event()
    try:
        status = share(request, ratio=ratio, settings=swarm_settings(request), stop=stop)
    except KeyboardInterrupt:
        out.note("sharing stopped; the files stay")
        return
    out.note(f"shared {bytes_text(status.uploaded)} (ratio {status.ratio:.2f})")
