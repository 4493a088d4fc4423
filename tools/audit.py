"""Ask whether a package that ``requirements.lock`` pins has a known vulnerability, by pip-audit.

    python -m tools.audit --pip-audit PATH/TO/pip-audit [--required]

pip-audit ends well, and says that it found nothing, also where its service knew no package at all:
so its report is read here, and what nobody was asked about is said. Ends with 1 where a package has
a vulnerability, and with ``--required`` where any was not asked about.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SERVICES = ("pypi", "osv")
"""Asked in this order, until one knows every package."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Audit:
    """What one service said.

    Attributes:
        audited: packages that it was asked about, as ``name==version``.
        unknown: packages that it said nothing about.
        vulnerable: what it knows against a package, a line each.
    """

    audited: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    vulnerable: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether something was audited, and nothing left out."""
        return bool(self.audited) and not self.unknown


def read_report(text: str) -> Audit:
    """What pip-audit's JSON says.

    Raises:
        ValueError: it is not pip-audit's JSON.
    """
    try:
        packages = json.loads(text)["dependencies"]
        audited = [each for each in packages if "skip_reason" not in each]
        return Audit(
            audited=tuple(f"{each['name']}=={each['version']}" for each in audited),
            unknown=tuple(each["name"] for each in packages if "skip_reason" in each),
            vulnerable=tuple(
                f"{each['name']}=={each['version']}: {fault['id']}, mended in"
                f" {', '.join(fault['fix_versions']) or 'no version yet'}"
                for each in audited
                for fault in each["vulns"]
            ),
        )
    except (LookupError, TypeError) as error:
        raise ValueError(f"not a report of pip-audit: {error!r}") from error


def ask(pip_audit: str, service: str, lock: Path) -> Audit:
    """What a service says of a lock; nothing of any where it cannot be asked."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        argv = [pip_audit, "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        argv += ["--vulnerability-service", service, "--timeout", "15"]
        argv += ["--progress-spinner", "off", "--format", "json", "--output", str(report)]
        ended = subprocess.run(argv, capture_output=True, text=True)
        try:
            return read_report(report.read_text("utf-8"))
        except (OSError, ValueError):
            said = ended.stderr.strip().splitlines() or ["no word"]
            print(f"{service}: {said[-1]:.200}", file=sys.stderr)
            return Audit()


def audit(pip_audit: str, lock: Path, services: Sequence[str] = SERVICES) -> Audit:
    """The fullest answer, or the first that knows a vulnerability."""
    best = Audit()
    for service in services:
        found = ask(pip_audit, service, lock)
        if found.vulnerable:
            return found
        if len(found.audited) > len(best.audited) or not (best.audited or best.unknown):
            best = found
        if best.whole:
            break
    return best


def main() -> None:
    """Ask, and say how it stands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pip-audit", default="pip-audit", help="the program")
    parser.add_argument("--lock", type=Path, default=REPOSITORY / "requirements.lock")
    parser.add_argument("--required", action="store_true", help="fail where nobody can be asked")
    wanted = parser.parse_args()
    found = audit(wanted.pip_audit, wanted.lock)
    for line in found.vulnerable:
        print(line)
    if found.vulnerable:
        sys.exit(f"{len(found.vulnerable)} known vulnerabilities in what {wanted.lock.name} pins")
    if found.whole:
        print(f"{len(found.audited)} packages of {wanted.lock.name}: no known vulnerability")
        return
    print(
        f"NOT AUDITED: no vulnerability service that can be reached from here knows"
        f" {len(found.unknown) or 'any'} of the packages of {wanted.lock.name};"
        f" {len(found.audited)} were asked about and have no known vulnerability",
        file=sys.stderr,
    )
    if wanted.required:
        sys.exit(1)


if __name__ == "__main__":
    main()
