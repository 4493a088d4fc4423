"""Consent to a model's licence: given with the request, recorded earlier, or asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from grokdist.errors import PolicyError

if TYPE_CHECKING:
    from grokdist.api.voice import Voice
    from grokdist.catalog.manifest import Manifest

AskConsent = Callable[["Manifest"], bool]
"""Asks a person; True where the licence is accepted."""


def consent(
    manifest: Manifest,
    given: str | None,
    voice: Voice,
    *,
    how: str,
    ask: AskConsent | None = None,
) -> str | None:
    """The acceptance of the licence that stands behind a fetch; a new one is recorded.

    Args:
        manifest: the model.
        given: ``ID`` or ``ID@sha256:HEX``, with the request.
        voice: told where another text of the licence was accepted.
        how: the flag or argument by which ``given`` came, for the record.
        ask: asks where consent is needed and there is none.

    Returns:
        the acceptance; None where the licence asks for none.

    Raises:
        PolicyError: the licence asks for acceptance and there is none, or ``given`` is of another.
        StoreError: the record of acceptances cannot be read or written.
    """
    from grokdist.api.acceptances import accepted, of_another_text, remember
    from grokdist.policy.acceptance import check_acceptance, required_acceptance

    if given is not None:
        record: str | None = check_acceptance(manifest, given)
    else:
        required = required_acceptance(manifest)
        record = accepted(manifest) if required is not None else None
        if required is not None and record is None:
            if (earlier := of_another_text(manifest)) is not None:
                voice.warning(
                    f"{earlier.acceptance} was accepted on {earlier.when}, and this is another"
                    " text of it: it is asked for again"
                )
            if ask is None:
                check_acceptance(manifest, None)
            elif not ask(manifest):
                raise PolicyError(f"the licence of {manifest.name} was not accepted")
            else:
                record, how = str(required), "fetch, asked on the terminal"
    if record is not None:
        remember(record, model=manifest.name, how=how)
    return record
