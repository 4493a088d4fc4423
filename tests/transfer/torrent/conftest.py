"""One model for all swarm tests of a worker; nobody writes to it."""

from __future__ import annotations

import pytest

from tests.transfer.torrent.swarms import SmallModel, make_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> SmallModel:
    # Its folder is not named like the torrent.
    return make_model(tmp_path_factory.mktemp("source") / "anything")
