"""A swarm as the origin of a share: each machine takes a part of it."""

from __future__ import annotations

from pathlib import Path

from tests.transfer.models import assert_complete
from tests.transfer.share.machines import MIB, Machine, cluster, go_together
from tests.transfer.torrent.swarms import make_model, seed, swarm_source

SIZES = {f"ckpt-0/tensor{place:05}_000": 3 * MIB + place for place in range(6)}


def test_two_machines_share_what_comes_from_a_swarm(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", SIZES)
    made = model.torrent()
    files = {entry.path: (model.directory / entry.path).read_bytes() for entry in model.entries}
    torrent = tmp_path / "m.torrent"
    torrent.write_bytes(made.data)
    with seed(model, made) as seeder:
        machines = []
        for place in range(2):
            target = tmp_path / str(place)
            source = swarm_source(torrent, model, target, peers=[seeder.port])
            peers = tuple(each.address for each in machines)
            machines.append(Machine(target, files, source, peers=peers))
        with cluster(machines):
            go_together(machines)
            results = [machine.wait() for machine in machines]
    for machine in machines:
        assert_complete(machine.directory, files)
    size = sum(map(len, files.values()))
    from_swarm = [
        sum(count for name, count in result.sources.items() if name != "share")
        for result in results
    ]
    assert sum(from_swarm) <= 1.2 * size
    assert max(from_swarm) < size
