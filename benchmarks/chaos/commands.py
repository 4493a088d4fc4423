"""The commands that are ended at every step, each with a small model or registry of its own."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from benchmarks.chaos.model import FILES, MANIFEST
from benchmarks.chaos.product import misspoken, run
from benchmarks.chaos.steps import NEW, OLD, Command
from benchmarks.chaos.truth import Between, receipt_there
from grokdist.catalog.registry_draft import draft_manifests
from grokdist.catalog.registry_folder import RegistryFolder
from grokdist.catalog.serialise import serialise_manifest
from grokdist.errors import GrokdistError
from grokdist.trust.key_files import load_private, load_public
from grokdist.trust.keys import load_verifying_key
from grokdist.trust.oms.bundle import Bundle
from grokdist.trust.receipt import parse_receipt
from tests.catalog.team import Team, drafted_rotation, manifest, seen
from tests.runtime.random_checkpoint import random_weights, small_config, write_checkpoint
from tests.transfer.models import entry_of, manifest_of

_FETCH = ("fetch", "tiny", "--manifest", "m.json", "--dir", "model", "--json", "--source")


def commands() -> tuple[Command, ...]:
    """All of them."""
    return (
        Command(
            name="fetch from a folder",
            prepare=_folder_of_files,
            argv=(*_FETCH, "local:from"),
            state=_model,
            prints='"verified": true',
        ),
        Command(
            name="verify",
            prepare=_fetched,
            argv=("verify", "model", "--json"),
            state=_verified,
            prints='"ok": true',
        ),
        Command(
            name="convert",
            prepare=_checkpoint,
            argv=("convert", "model", "--out", "out", "--file-size", "40k", "--key", "key.pem",
                  "--json"),
            state=_converted,
            prints='"dir"',
        ),
        Command(
            name="sign",
            prepare=_unsigned,
            argv=("sign", "model", "--key", "key.pem", "--json"),
            state=_signed,
            prints='"root"',
        ),
        Command(
            name="sign, over a signature",
            prepare=_signed_before,
            argv=("sign", "model", "--key", "key.pem", "--json"),
            state=_signed,
            prints='"root"',
        ),
        Command(
            name="keys new",
            prepare=lambda folder: None,
            argv=("keys", "new", "k", "--out", "keys/k.pem", "--no-password", "--json"),
            state=_made,
            prints='"keyid"',
            refuses="a key is never written over",
        ),
        Command(
            name="attest",
            prepare=_fetched,
            argv=("attest", "make", "model", "--type", "openness", "--key", "key.pem", "--json"),
            state=_attested,
            prints='"signed": true',
        ),
        Command(
            name="registry sign",
            prepare=_waiting,
            argv=("registry", "sign", "registry", "--key", "targets.pem", "--json"),
            state=_draft_signed,
            prints='"signed"',
        ),
        Command(
            name="registry publish",
            prepare=_signed_off,
            argv=("registry", "publish", "registry", "--online-key", "online.pem", "--to", "web",
                  "--json"),
            state=_published,
            prints='"root_sha256"',
        ),
    )  # fmt: skip


def _key(folder: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(pem)
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pub").write_bytes(public)


def _folder_of_files(folder: Path) -> None:
    for path, data in FILES.items():
        (folder / "from" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "from" / path).write_bytes(data)
    (folder / "m.json").write_bytes(MANIFEST)


def _fetched(folder: Path) -> None:
    _folder_of_files(folder)
    _key(folder)
    _done(folder, *_FETCH, "local:from")


def _done(folder: Path, *argv: str) -> None:
    ended = run(argv, folder)
    if wrong := misspoken(ended, {0: ""}):
        raise RuntimeError(f"{argv[0]} failed: {wrong}")


def _checkpoint(folder: Path) -> None:
    """A model that can be converted: random weights in the original layout, fetched."""
    made = folder / "from"
    config = small_config()
    write_checkpoint(made, config, random_weights(config))
    (made / "LICENSE").write_text("Take it.\n")
    paths = sorted(each for each in made.rglob("*") if each.is_file())
    entries = [entry_of(each.relative_to(made).as_posix(), each.read_bytes()) for each in paths]
    (folder / "m.json").write_bytes(serialise_manifest(manifest_of(entries)))
    _key(folder)
    _done(folder, *_FETCH, "local:from")


def _unsigned(folder: Path) -> None:
    _folder_of_files(folder)
    (folder / "from").rename(folder / "model")
    _key(folder)


def _signed_before(folder: Path) -> None:
    _unsigned(folder)
    _done(folder, "sign", "model", "--key", "key.pem")


def _team(folder: Path) -> Team:
    team = Team(folder / "registry")
    team.begin("tiny")
    for role in ("targets", "online"):
        (folder / f"{role}.pem").write_bytes(team.keys[role][0].private_bytes)
    return team


def _waiting(folder: Path) -> None:
    """A draft that lacks both signatures that it needs."""
    team = _team(folder)
    draft_manifests(team.folder, [manifest("second")], now=datetime.now(UTC))


def _signed_off(folder: Path) -> None:
    """A new root and a new listing, signed by all who must."""
    team = _team(folder)
    team.publish(to=folder / "web")
    drafted_rotation(team)
    draft_manifests(team.folder, [manifest("second")], now=datetime.now(UTC))
    team.sign("targets")


def _lines(folder: Path, *, out: bool = False) -> Iterator[tuple[str, Path]]:
    """What has a final name in a folder of a model, by its path."""
    for each in sorted(folder.rglob("*")):
        path = each.relative_to(folder)
        if each.is_file() and not any(part.startswith(".") for part in path.parts):
            yield path.as_posix(), each


def _model(folder: Path, before: Path, after: Path) -> str:
    """A fetched model: files that have their names are right, and so is the receipt."""
    model = folder / "model"
    for path, file in _lines(model):
        if path not in FILES or file.read_bytes() != FILES[path]:
            raise Between(f"{path} has a wrong byte under its name")
    return NEW if receipt_there(model, FILES) else OLD


def _verified(folder: Path, before: Path, after: Path) -> str:
    """A model that was right before, and that nothing may change but what its receipt tells."""
    if _model(folder, before, after) != NEW:
        raise Between("the receipt is gone")
    return NEW


def _attested(folder: Path, before: Path, after: Path) -> str:
    if _model(folder, before, after) != NEW:
        raise Between("the receipt is gone")
    receipt = parse_receipt((folder / "model/.grokdist/receipt.json").read_bytes())
    return NEW if any("openness" in each.path for each in receipt.attestations) else OLD


def _converted(folder: Path, before: Path, after: Path) -> str:
    """Every file with a name is the one of an undisturbed run; done where there is a receipt."""
    out, right = folder / "out", after / "out"
    if not out.exists():
        return OLD
    files = {path: file.read_bytes() for path, file in _lines(right)}
    for path, file in _lines(out):
        # The change notice tells the moment.
        if path != "CHANGES.txt" and file.read_bytes() != files.get(path):
            raise Between(f"{path} has a wrong byte under its name")
    files = {path: (out / path).read_bytes() for path in files if (out / path).exists()}
    done = receipt_there(out, files)
    if done:
        if files.keys() != dict(_lines(right)).keys():
            raise Between("there is a receipt, and not every file")
        receipt = parse_receipt((out / ".grokdist/receipt.json").read_bytes())
        if not any("conversion" in each.path for each in receipt.attestations):
            return OLD  # all files are there; what states where they come from is not
    return NEW if done else OLD


def _signed(folder: Path, before: Path, after: Path) -> str:
    """No signature, the old one, or a new one that holds over all files."""
    for path, file in _lines(folder / "model"):
        if path == "model.sig.new":
            continue  # what a signing left that was killed; no verification looks at it
        if path != "model.sig" and file.read_bytes() != FILES.get(path):
            raise Between(f"{path} was changed")
    file, old = folder / "model/model.sig", before / "model/model.sig"
    if not file.exists():
        if old.exists():
            raise Between("the old signature is gone")
        return OLD
    if old.exists() and file.read_bytes() == old.read_bytes():
        return OLD
    try:
        bundle = Bundle.parse(file.read_bytes())
    except GrokdistError as error:
        raise Between(str(error)) from error
    key = load_verifying_key(folder / "key.pub")
    if not bundle.envelope.signers([key]):
        raise Between("the signature does not hold")
    listed = {
        each["name"]: each["digest"]
        for each in json.loads(bundle.envelope.payload)["predicate"]["resources"]
    }
    if listed != {path: hashlib.sha256(data).hexdigest() for path, data in FILES.items()}:
        raise Between("the signature is not over these files")
    return NEW


def _made(folder: Path, before: Path, after: Path) -> str:
    """A private key that can be read, or none; done where its public half is beside it."""
    private, public = folder / "keys/k.pem", folder / "keys/k.pub.pem"
    if not private.exists():
        if public.exists():
            raise Between("there is a public half and no private one")
        return OLD
    try:
        key = load_private(private, lambda _: b"").public_key()
        if public.exists() and load_public(public) != key:
            raise Between("the halves are of two keys")
    except GrokdistError as error:
        raise Between(str(error)) from error
    return NEW if public.exists() else OLD


def _draft_signed(folder: Path, before: Path, after: Path) -> str:
    """The draft has no signature, or one that holds; what is published is untouched."""
    try:
        state = RegistryFolder(folder / "registry").read()
    except GrokdistError as error:
        raise Between(str(error)) from error
    if state.draft_targets is None:
        raise Between("the draft is gone")
    for file in (before / "registry").glob("*.json"):
        if (folder / "registry" / file.name).read_bytes() != file.read_bytes():
            raise Between(f"{file.name}, which is published, was changed")
    return NEW if state.draft_targets.signatures else OLD


def _published(folder: Path, before: Path, after: Path) -> str:
    """Each of both copies is the old set or the new one, to a client of python-tuf."""
    states = set()
    for name in ("registry", "web"):
        client = folder / "client"
        try:
            found = seen(folder / name, client)
        except Exception as error:
            raise Between(f"a client of {name} fails: {error!r}") from error
        finally:
            shutil.rmtree(client, ignore_errors=True)
        root, timestamp = found
        if root not in (1, 2) or (root == 2) != (timestamp > 2):
            raise Between(f"a client of {name} sees root {root} with timestamp {timestamp}")
        states.add(NEW if root == 2 else OLD)
    # Both folders are changed one after the other, and each in one step.
    return NEW if states == {NEW} else OLD
