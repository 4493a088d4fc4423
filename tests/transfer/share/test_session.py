"""Several machines fetch the same files: each byte leaves the origin about once."""

from __future__ import annotations

from pathlib import Path

from tests.servers.hub_server import HubServer
from tests.transfer.models import assert_complete
from tests.transfer.share.machines import Machine, cluster, mirror, origin_bytes, payload

FILES = payload()
SIZE = sum(map(len, FILES.values()))


def test_four_machines_take_each_byte_from_the_origin_about_once(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        others = [
            Machine(tmp_path / str(place), FILES, mirror(server), peers=(first.address,))
            for place in range(1, 4)
        ]
        with cluster([first, *others]) as machines:
            for machine in machines:
                machine.go()
            results = [machine.wait() for machine in machines]
            taken = origin_bytes(server)
    for machine, result in zip(machines, results, strict=True):
        assert_complete(machine.directory, FILES)
        assert result.sources["share"] > SIZE / 3
        assert result.fetched_bytes < 1.2 * SIZE
    assert SIZE <= taken <= 1.2 * SIZE
