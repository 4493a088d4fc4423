"""Several machines fetch the same files: each byte leaves the origin about once."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from grokdist.errors import NoSourceError
from grokdist.transfer.plan import make_plan
from grokdist.transfer.share import peer_source
from grokdist.transfer.share.keys import ShareKey
from grokdist.transfer.share.server import ShareServer
from tests.servers.hub_server import Faults, HubServer, wait_until
from tests.transfer.models import assert_complete
from tests.transfer.share.machines import (
    MIB,
    Machine,
    Moving,
    cluster,
    go_together,
    mirror,
    origin_bytes,
    payload,
)

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
            go_together(machines)
            results = [machine.wait() for machine in machines]
            taken = origin_bytes(server)
    for machine, result in zip(machines, results, strict=True):
        assert_complete(machine.directory, FILES)
        assert result.sources["share"] > SIZE / 3
        assert result.fetched_bytes < 1.2 * SIZE
    assert SIZE <= taken <= 1.2 * SIZE


def test_a_machine_that_joins_late_gets_what_is_here_from_the_others(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        late = Machine(tmp_path / "1", FILES, mirror(server), peers=(first.address,))
        with cluster([first, late]):
            first.go().wait()
            assert origin_bytes(server) == SIZE
            assert late.go().wait().sources == {"share": SIZE}
            assert origin_bytes(server) == SIZE
    assert_complete(late.directory, FILES)


def test_a_machine_without_a_source_is_served_while_the_other_fetches(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(throttle=4_000_000)) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        without = Machine(tmp_path / "1", FILES, peers=(first.address,))
        with cluster([first, without]) as machines:
            go_together(machines)
            assert without.wait().sources == {"share": SIZE}
            first.wait()
            assert origin_bytes(server) <= 1.1 * SIZE
    assert_complete(without.directory, FILES)


def test_when_an_owner_dies_the_others_take_over(tmp_path: Path) -> None:
    servers = [HubServer(FILES, faults=Faults(throttle=1_000_000)) for _ in range(3)]
    with servers[0], servers[1], servers[2]:
        first = Machine(tmp_path / "0", FILES, mirror(servers[0]))
        others = [
            Machine(tmp_path / str(place), FILES, mirror(servers[place]), peers=(first.address,))
            for place in (1, 2)
        ]
        with cluster([first, *others]) as machines:
            go_together(machines)
            wait_until(lambda: origin_bytes(servers[2]) > SIZE / 20)
            servers[2].close()
            others[1].vanish()
            first.wait()
            others[0].wait()
        taken = sum(map(origin_bytes, servers))
    for machine in machines[:2]:
        assert_complete(machine.directory, FILES)
        assert "does not answer any more" in machine.notes
    assert taken <= 1.2 * SIZE


def test_a_member_that_lies_is_found_out_and_left(tmp_path: Path) -> None:
    wrong = {path: bytes(len(data)) for path, data in FILES.items()}
    with HubServer(FILES) as server:
        liar = Machine(tmp_path / "liar", FILES)
        for path, data in wrong.items():
            liar.directory.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
            liar.directory.joinpath(path).write_bytes(data)
            liar.session.shelf.finish(path)
        honest = [
            Machine(tmp_path / str(place), FILES, mirror(server), peers=(liar.address,))
            for place in range(2)
        ]
        with cluster([liar, *honest]):
            liar.listen()
            for machine in honest:
                machine.go()
            for machine in honest:
                machine.wait()
    for machine in honest:
        assert_complete(machine.directory, FILES)
        port = liar.session.port
        assert f"127.0.0.1:{port} delivered wrong bytes" in machine.notes
        blamed = [line for line in machine.notes.lines if "delivered wrong" in line]
        assert len(blamed) == 1


def test_members_with_another_key_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server), key=ShareKey("one secret of ours"))
        other = Machine(
            tmp_path / "1",
            FILES,
            mirror(server),
            key=ShareKey("another secret then"),
            peers=(first.address,),
        )
        none = Machine(tmp_path / "2", FILES, mirror(server), peers=(first.address,))
        same = Machine(
            tmp_path / "3",
            FILES,
            mirror(server),
            key=ShareKey("one secret of ours"),
            peers=(first.address,),
        )
        with cluster([first, other, none, same]):
            first.go().wait()
            assert "share" not in other.go().wait().sources
            assert "share" not in none.go().wait().sources
            assert same.go().wait().sources == {"share": SIZE}
        assert first.session.given.members == 1


def test_each_may_want_another_part(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server), include=("ckpt-0/*",))
        other = Machine(
            tmp_path / "1", FILES, mirror(server), include=("*_000",), peers=(first.address,)
        )
        few = Machine(
            tmp_path / "2",
            FILES,
            mirror(server),
            include=("LICENSE.txt", "ckpt-0/tensor00000_000"),
            peers=(first.address,),
        )
        with cluster([first, other, few]) as machines:
            go_together(machines)
            for machine in machines:
                machine.wait()
        assert origin_bytes(server) <= 1.2 * SIZE
    assert (few.directory / "LICENSE.txt").read_bytes() == FILES["LICENSE.txt"]


def test_the_others_take_over_from_a_machine_whose_origin_fails(tmp_path: Path) -> None:
    with HubServer(FILES) as server, HubServer(FILES) as broken:
        broken.faults.refuse = (503, "")
        first = Machine(tmp_path / "0", FILES, mirror(server))
        ill = Machine(tmp_path / "1", FILES, mirror(broken), peers=(first.address,))
        with cluster([first, ill]) as machines:
            go_together(machines)
            first.wait()
            assert ill.wait().sources == {"share": SIZE}
        assert origin_bytes(server) <= 1.2 * SIZE


def test_what_an_earlier_run_brought_is_given_at_once(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(throttle=400_000)) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        with cluster([first]):
            first.go()
            wait_until(lambda: origin_bytes(server) > SIZE / 5)
            first.interrupt()
        had = SIZE - make_plan(first.request, []).fetch_bytes
        assert had > SIZE / 10
        before = origin_bytes(server)
        server.faults.throttle = None
        again = Machine(tmp_path / "0", FILES, mirror(server))
        other = Machine(tmp_path / "1", FILES, mirror(server), peers=(again.address,))
        with cluster([again, other]) as machines:
            go_together(machines)
            for machine in machines:
                machine.wait()
        assert origin_bytes(server) - before <= SIZE - had + SIZE / 10


def test_machines_wait_for_those_who_are_not_done(tmp_path: Path) -> None:
    with HubServer(FILES, faults=Faults(throttle=4_000_000)) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        other = Machine(tmp_path / "1", FILES, peers=(first.address,))
        with cluster([first, other]) as machines:
            go_together(machines)
            first.wait()
            given = first.session.linger(threading.Event())
            assert given.waiting == 0
            assert given.bytes >= SIZE
            other.wait()


def test_alone_there_is_nobody_to_wait_for(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        alone = Machine(tmp_path / "0", FILES, mirror(server))
        with cluster([alone]):
            assert alone.go().wait().fetched_bytes == SIZE
            assert alone.session.linger(threading.Event()).members == 0


def test_without_any_source_or_machine_the_fetch_fails(tmp_path: Path) -> None:
    alone = Machine(tmp_path / "0", FILES, stuck=0.1)
    with cluster([alone]), pytest.raises(NoSourceError):
        alone.go().wait()


def test_wrong_bytes_of_a_member_beside_right_ones_of_the_origin(tmp_path: Path) -> None:
    path = "ckpt-0/tensor00000_000"
    with HubServer(FILES) as server:
        liar = Machine(tmp_path / "liar", FILES)
        part = liar.directory / ".grokdist/parts" / f"{path}.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(bytes(len(FILES[path])))
        liar.session.shelf.add(liar.session.content.by_path[path], [(0, 8 * MIB)])
        honest = Machine(tmp_path / "0", FILES, mirror(server), peers=(liar.address,))
        with cluster([liar, honest]):
            liar.listen()
            honest.go().wait()
            # The origin is asked for what the member lied about, and not again for the rest.
            assert origin_bytes(server) <= SIZE + MIB
    assert_complete(honest.directory, FILES)
    assert f"127.0.0.1:{liar.session.port} delivered wrong bytes" in honest.notes


def test_a_member_that_boasts_and_gives_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        boaster = Machine(tmp_path / "boaster", FILES)
        for number, file in enumerate(boaster.session.content.files):
            boaster.session.shelf.add(number, [(0, file.size)])
        honest = Machine(tmp_path / "0", FILES, mirror(server), peers=(boaster.address,))
        with cluster([boaster, honest]):
            boaster.listen()
            assert honest.go().wait().sources == {"https:" + server.mirror: SIZE}
    assert_complete(honest.directory, FILES)


def test_a_member_that_says_to_take_all_and_takes_nothing_holds_nobody_up(tmp_path: Path) -> None:
    with HubServer(FILES) as server:
        idler = Machine(tmp_path / "idler", FILES)
        with contextlib.ExitStack() as taking:
            for number, file in enumerate(idler.session.content.files):
                for start in range(0, file.size, MIB):
                    moving = Moving(start=start, offset=start, end=min(start + MIB, file.size))
                    taking.enter_context(idler.session.shelf.taking(number, moving))
            honest = Machine(
                tmp_path / "0", FILES, mirror(server), peers=(idler.address,), stuck=0.5
            )
            with cluster([idler, honest]):
                idler.listen()
                assert honest.go().wait().sources == {"https:" + server.mirror: SIZE}
    assert_complete(honest.directory, FILES)


def test_a_member_that_drips_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dripping = {"port": 0}
    send = ShareServer._send_file

    def drip(self: ShareServer, connection: Any, fd: int, start: int, end: int) -> None:
        if self.port != dripping["port"]:
            send(self, connection, fd, start, end)
            return
        while start < end:
            connection.sendall(os.pread(fd, 1000, start))
            start += 1000
            time.sleep(0.02)

    monkeypatch.setattr(ShareServer, "_send_file", drip)
    monkeypatch.setattr(peer_source, "_GRACE_S", 0.1)
    with HubServer(FILES) as server:
        first = Machine(tmp_path / "0", FILES, mirror(server))
        other = Machine(tmp_path / "1", FILES, mirror(server), peers=(first.address,))
        with cluster([first, other]):
            first.go().wait()
            dripping["port"] = first.session.port
            came = other.go().wait().sources
    assert_complete(other.directory, FILES)
    assert came["https:" + server.mirror] > came.get("share", 0)
