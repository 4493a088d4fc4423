"""A model repository on the Hugging Face Hub, or on any endpoint that speaks its API.

``huggingface_hub`` gives the endpoint (``HF_ENDPOINT``), the URLs, the token and the offline
switch; the bytes are read by our own resumable streams, since its downloader starts a file again
in every new process and checks no digest. Files in Xet storage come through the same ordinary
download URLs.
"""

from __future__ import annotations

import re
import threading

from huggingface_hub import constants, get_token, hf_hub_url

from grokdist.catalog.manifest import FileEntry, SourceKind
from grokdist.errors import DigestMismatchError, SourceError, UsageError
from grokdist.transfer.part import Segment
from grokdist.transfer.sources.base import AnyRange
from grokdist.transfer.sources.http_answer import Refusal
from grokdist.transfer.sources.http_stream import HttpStream
from grokdist.transfer.sources.http_transport import Answer, HttpSettings
from grokdist.transfer.stop import Stop

_FALLBACK = "main"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?')


class HubSource(AnyRange):
    """Files of one repository at one commit.

    It offers every file, also those that the manifest lists elsewhere: a mirror may have them,
    and one that is not there costs one request.

    Args:
        repository: ``org/name``.
        revision: commit; where the endpoint does not know it (a mirror made its own commits),
            ``main`` is taken, since digests and not commits say whether bytes are right.
        slots: files at once.
        endpoint: base URL; None for what ``huggingface_hub`` says (``HF_ENDPOINT``).
        token: access token; None for what ``huggingface_hub`` finds (``HF_TOKEN``).
        settings: bounds of requests.

    Raises:
        UsageError: that is no repository name.
    """

    kind = SourceKind.HUB

    def __init__(
        self,
        repository: str,
        *,
        revision: str | None = None,
        slots: int = 4,
        endpoint: str | None = None,
        token: str | None = None,
        settings: HttpSettings | None = None,
    ) -> None:
        if not _REPOSITORY.fullmatch(repository):
            raise UsageError(f"{repository!r} is not a Hub repository; expected ORG/NAME")
        self.name = f"hub:{repository}"
        self.slots = slots
        self._repository = repository
        self._revision = revision or _FALLBACK
        self._endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self._token = token
        self._lock = threading.Lock()
        self._headers: dict[str, str] | None = None
        self._commits: list[str] = []
        self._stream = HttpStream(
            self.name,
            slots,
            settings or HttpSettings(),
            explain=self._explain,
            inspect=self._inspect,
        )

    def offers(self, entry: FileEntry) -> bool:
        """True: only the Hub itself knows what the repository holds."""
        return True

    def fetch(self, entry: FileEntry, segment: Segment, stop: Stop) -> None:
        """Bring a range to its end; see ``Source.fetch``."""
        if constants.is_offline_mode():
            raise SourceError("HF_HUB_OFFLINE is set", source=self.name, permanent=True)
        revision = self._revision
        url = hf_hub_url(self._repository, entry.path, revision=revision, endpoint=self._endpoint)
        try:
            self._stream.fetch(url, self._authorised(), entry, segment, stop)
        except _RevisionUnknownError:
            raise self._without_revision(revision) from None

    def close(self) -> None:
        """Close the connections."""
        self._stream.close()

    def _authorised(self) -> dict[str, str]:
        """Headers with the token, which the transport sends to the endpoint alone."""
        with self._lock:
            if self._headers is None:
                token = self._token
                if token is None and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
                    token = get_token()
                self._headers = {"Authorization": f"Bearer {token}"} if token else {}
            return self._headers

    def _without_revision(self, revision: str) -> SourceError:
        """Go on with the main branch, once; the error that says so lets the engine tell it."""
        with self._lock:
            hopeless = self._revision == revision == _FALLBACK
            self._revision = _FALLBACK
        if hopeless:
            return SourceError(f"has no branch {_FALLBACK}", source=self.name, permanent=True)
        return SourceError(
            f"does not know the commit {revision}; going on with {_FALLBACK}, since each file is"
            " checked against the manifest",
            source=self.name,
        )

    def _inspect(self, entry: FileEntry, answer: Answer) -> None:
        """Compare what the Hub announces with the manifest and with what it said before."""
        self._note_commit(answer)
        announced = _SHA256.fullmatch(answer.first.get("X-Linked-Etag", ""))
        if entry.sha256 is None or announced is None or announced[1] == entry.sha256:
            return
        expected, got = f"sha256:{entry.sha256}", f"sha256:{announced[1]}"
        raise DigestMismatchError(
            f"{self.name} announces other bytes for {entry.path}; expected {expected}, got {got}",
            path=entry.path,
            expected=expected,
            got=got,
        )

    def _login_advice(self) -> str:
        """What to do about the token; which one was sent is not told."""
        if self._authorised():
            return "use a token that may read it: this one (HF_TOKEN or `hf auth login`) may not"
        return "log in with `hf auth login` or set HF_TOKEN"

    def _note_commit(self, answer: Answer) -> None:
        """Complain, once for each, of a commit that moves under the fetch.

        That happens where a branch is read, and on a server that does not keep its word. What
        comes after it is taken too: each file is checked against the manifest.
        """
        commit = answer.first.get("X-Repo-Commit", "")
        with self._lock:
            if not _COMMIT.fullmatch(commit) or commit in self._commits or len(self._commits) > 3:
                return
            known = self._commits[-1] if self._commits else None
            self._commits.append(commit)
        if known is not None:
            raise SourceError(
                f"moved from commit {known} to {commit} while it was being fetched; going on,"
                " since each file is checked against the manifest",
                source=self.name,
            )

    def _explain(self, answer: Answer) -> Refusal | None:
        """Words for the Hub's own errors, by ``X-Error-Code``."""
        status = answer.response.status
        code = answer.response.headers.get("X-Error-Code", "")
        where = f"{self._endpoint}/{self._repository}"
        if answer.redirected and status == 403:
            # A signed download address that has run out; the next request gets a new one.
            return Refusal(reason="the download address has expired (HTTP 403)", permanent=False)
        if code == "GatedRepo":
            return Refusal(
                reason=f"the repository is gated (HTTP {status}): accept its terms at {where},"
                f" then {self._login_advice()}",
                permanent=True,
                whole=True,
            )
        if code == "RevisionNotFound":
            raise _RevisionUnknownError
        if code == "RepoNotFound" or (status == 401 and not answer.redirected):
            return Refusal(
                reason=f"no repository {where}, or it is private (HTTP {status}): if you have"
                f" access, {self._login_advice()}",
                permanent=True,
                whole=True,
            )
        if status == 404:
            return Refusal(reason="has not got it (HTTP 404)", permanent=True)
        return None


class _RevisionUnknownError(Exception):
    """The endpoint knows the repository, but not the commit."""
