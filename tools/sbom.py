"""Write the software bill of materials of grokdist itself, as CycloneDX 1.6 JSON.

    python -m tools.sbom --output grokdist.cdx.json

It lists what ``requirements.lock`` pins: every package that an installation by the lock may have,
with its version, the marker it is for, and the SHA-256 of every file of it that ``pip`` would
accept. The same lock gives the same bytes. It does not list the parts inside those packages
(compiled libraries, say), nor licences: the lock does not say them.
"""

from __future__ import annotations

import argparse
import re
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

REPOSITORY = Path(__file__).resolve().parent.parent
_PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9._-]*)==(?P<version>[^ ;\\]+)(?: ; (?P<marker>.*?))?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_MARKER = "grokdist:lock:marker"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """One package of the lock: what may be installed of it, and where."""

    name: str
    version: str
    marker: str | None
    sha256: tuple[str, ...]


def read_lock(text: str) -> Iterator[Pin]:
    """The pins of a lock file as ``uv pip compile --generate-hashes`` writes it.

    Raises:
        ValueError: a line is neither a pin with hashes nor a comment.
    """
    joined = re.sub(r" *\\\n *", " ", text)
    for line in joined.splitlines():
        if not line or line.startswith("#"):
            continue
        head, _, hashes = line.partition(" --hash=")
        pin, digests = _PIN.fullmatch(head.strip()), _HASH.findall("--hash=" + hashes)
        if pin is None or not digests:
            raise ValueError(f"{line[:80]!r} is no pin with hashes; expected name==version --hash")
        yield Pin(
            name=pin["name"],
            version=pin["version"],
            marker=pin["marker"],
            sha256=tuple(sorted(digests)),
        )


def make_bom(project: dict[str, str], pins: list[Pin]) -> Bom:
    """The bill of materials: the project, and its pinned packages as what it depends on."""
    root = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        bom_ref=project["name"],
        licenses=[LicenseExpression(project["license"])],
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, repr((sorted(project.items()), pins))))
    bom.metadata.component = root
    components = [_component(pin) for pin in pins]
    bom.components.update(components)
    bom.register_dependency(root, components)
    return bom


def _component(pin: Pin) -> Component:
    address = PackageURL(type="pypi", name=pin.name, version=pin.version)
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=pin.version,
        purl=address,
        bom_ref=str(address) + (f"#{pin.marker}" if pin.marker else ""),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=each) for each in pin.sha256],
        properties=[Property(name=_MARKER, value=pin.marker)] if pin.marker else [],
    )


def serialise(bom: Bom) -> str:
    """The document, without the moment at which it was made."""
    bom.metadata.timestamp = None  # type: ignore[assignment]
    text: str = JsonV1Dot6(bom).output_as_string(indent=1)
    return text + "\n"


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("grokdist.cdx.json"))
    wanted = parser.parse_args()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    known = {key: project[key] for key in ("name", "version", "license")}
    pins = list(read_lock((REPOSITORY / "requirements.lock").read_text("utf-8")))
    wanted.output.write_text(serialise(make_bom(known, pins)), "utf-8")
    print(f"{wanted.output}: {len(pins)} packages of requirements.lock")


if __name__ == "__main__":
    main()
