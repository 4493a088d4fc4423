"""Targets that come over the network: torrents, HTTP answers, a share, git packs."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from typing import Any

from tests.fuzz import mutation
from tests.fuzz.target import NotOurs, Target, ours

_MOST_ANSWER = 100_000
"""Bytes of an answer that the socket of a test takes without anybody reading."""


def torrent_target() -> Target:
    from grokdist.errors import GrokdistError
    from grokdist.transfer.sources.torrent_magnet import parse_magnet
    from grokdist.transfer.sources.torrent_metainfo import read_torrent

    v1 = {
        b"info": {
            b"name": b"model",
            b"piece length": 16384,
            b"pieces": bytes(40),
            b"files": [
                {b"length": 16384, b"path": [b"a", b"b"]},
                {b"length": 10, b"path": [b"c"], b"path.utf-8": [b"c"]},
                {b"length": 6, b"path": [b".pad", b"6"], b"attr": b"p"},
            ],
        },
        b"announce": b"http://127.0.0.1:1/announce",
        b"url-list": [b"http://127.0.0.1:1/"],
    }
    single = {b"info": {b"name": b"x", b"piece length": 16384, b"pieces": bytes(20), b"length": 10}}
    leaf = {b"": {b"length": 10, b"pieces root": b"r" * 32}}
    v2 = {
        b"info": {
            b"name": b"model",
            b"piece length": 16384,
            b"meta version": 2,
            b"file tree": {b"a": {b"b": leaf}, b"c": leaf},
        },
        b"piece layers": {},
    }

    def run(data: bytes) -> None:
        if data.startswith(b"magnet:"):
            parse_magnet(data.decode("utf-8", "surrogateescape"))
        else:
            read_torrent(data).params()

    def mutate(rng: Any, data: bytes) -> bytes:
        change = mutation.any_bytes if data.startswith(b"magnet:") else mutation.bencode_tree
        return change(rng, data)

    magnet = b"magnet:?xt=urn:btih:%s&dn=model&tr=http%%3A%%2F%%2Fh%%2Fa&x.pe=127.0.0.1:1&so=0-2"
    return Target(
        seeds=[*(mutation.bencode(each) for each in (v1, single, v2)), magnet % (b"ab" * 20)],
        run=run,
        refusals=(GrokdistError,),
        mutate=mutate,
    )


def http_target() -> Target:
    """What a server answers: head and body as they come, read as a download reads them."""
    import socket

    from grokdist.catalog.manifest import FileEntry
    from grokdist.errors import GrokdistError
    from grokdist.transfer.sources.http_answer import AnswerCheck, retry_after
    from grokdist.transfer.sources.http_connection import Connection
    from grokdist.transfer.sources.http_direct import DirectConnections, DirectResponse
    from grokdist.transfer.sources.http_transport import Answer
    from grokdist.transfer.sources.http_wire import HttpError
    from grokdist.transfer.stop import Stop

    entry = FileEntry(path="a", size=100, sha256="0" * 64)
    url = "https://h.example/a"
    server = ("https", "h.example", 443)
    buffer = memoryview(bytearray(256))

    def run(data: bytes) -> None:
        ours, theirs = socket.socketpair()
        connections = DirectConnections(1, connect_timeout=1.0, read_timeout=1.0)
        try:
            theirs.sendall(data[:_MOST_ANSWER])
            theirs.shutdown(socket.SHUT_WR)
            connection = Connection(ours, 1.0)
            head = connection.ask(b"", Stop())
            response = DirectResponse(head, connection, server, connections)
            judge(response)
        except HttpError:
            # The source takes it for a broken connection.
            raise NotOurs from None
        finally:
            connections.close()
            theirs.close()
            ours.close()

    def judge(response: DirectResponse) -> None:
        answer = Answer(
            response=response,
            first=response.headers,
            redirected=False,
            url=url,
            sent={},
            let_go=lambda: None,
        )
        check = AnswerCheck("hub:a/b", None)
        wait = retry_after(response.headers)
        if wait is not None and not 0 <= wait <= 86_400:
            raise AssertionError(f"a wait of {wait} s")
        if response.status not in (200, 206):
            raise check.refused(answer, entry)
        skip, count = check.accept(answer, entry, 40)
        if skip < 0 or count < 1 or 40 - (40 if skip else 0) + skip + count > 100:
            raise AssertionError(f"bytes {skip}+{count} of {entry.size}")
        told = response.headers.get("Content-Length", "")
        came = 0
        while got := response.read_into(buffer):
            came += got
        if told.isdigit() and "Transfer-Encoding" not in response.headers and came > int(told):
            raise AssertionError(f"{came} bytes of {told}")
        response.finish()

    heads = [
        b"HTTP/1.1 206 Partial Content\nContent-Range: bytes 40-99/100\nContent-Length: 60\n"
        b'ETag: "a"\nLast-Modified: Wed, 21 Oct 2015 07:28:00 GMT\n\n',
        b"HTTP/1.1 200 OK\nContent-Length: 100\nContent-Type: text/html\n"
        b"Content-Encoding: identity\n\n",
        b"HTTP/1.1 429 Too Many Requests\nRetry-After: Wed, 21 Oct 2099 07:28:00 GMT\n"
        b'RateLimit: "api";r=0;t=55\n\n',
        b"HTTP/1.1 503 Unavailable\nRetry-After: 120\nTransfer-Encoding: chunked\n\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n4;x=y\nabcd\n1\ne\n0\nA: b\n\n",
        b"HTTP/1.1 103 Early Hints\nLink: x\n\nHTTP/1.0 200 OK\nConnection: keep-alive\n\nabc",
        b"HTTP/1.1 200 OK\nContent-Length: 3\nA: b\n c: d\nContent-Length: 3\n\nabcHTTP/1.1 2",
    ]
    return Target(
        seeds=[head.replace(b"\n", b"\r\n") for head in heads],
        run=run,
        refusals=(GrokdistError,),
        mutate=mutation.lines,
    )


def share_target() -> Target:
    """What another machine of a share sends: a request, a status, an announcement."""
    from grokdist.errors import GrokdistError
    from grokdist.transfer.share import server
    from grokdist.transfer.share.discovery import Announcement
    from grokdist.transfer.share.keys import ShareKey
    from grokdist.transfer.share.status import parse_status
    from tests.transfer.share.test_status import CONTENT, STATUS

    key = ShareKey("k" * 32)

    def run(data: bytes) -> None:
        if data.startswith(b"GET"):
            server._parse(data)
        elif b'"grokdist"' in data:
            ours(Announcement.read(data, None if b'"mac"' not in data else key))
        else:
            parse_status(data, CONTENT)

    def mutate(rng: Any, data: bytes) -> bytes:
        change = mutation.lines if data.startswith(b"GET") else mutation.json_tree
        return change(rng, data)

    announced = Announcement(share_id="ab" * 20, member="cd" * 16, port=7)
    return Target(
        seeds=[
            STATUS.to_json(),
            announced.to_bytes(None),
            announced.to_bytes(key),
            b"GET /status?a=1 HTTP/1.1\r\nHost: h:1\r\nRange: bytes=0-9\r\nX-Time: 1",
        ],
        run=run,
        refusals=(GrokdistError, server._RefusedError),
        mutate=mutate,
    )


def git_target() -> Target:
    """A pack, and the commit, trees and pointers in it."""
    from grokdist.catalog import git_pack
    from grokdist.catalog.git_listing import list_commit, parse_pointer
    from grokdist.catalog.git_objects import lfs_pointer
    from grokdist.catalog.git_pack import PackLimits, read_pack
    from grokdist.errors import GrokdistError
    from tests.catalog import pack_builder

    pointer = lfs_pointer("ab" * 32, 1234)
    blob = _object_id(b"blob", pointer)
    tree = b"100644 a\0" + blob + b"100644 b\0" + blob
    root = _object_id(b"tree", tree).hex()
    who = b"A <a@h> 1700000000 +0000"
    commit = b"tree %s\nauthor %s\ncommitter %s\n\nx\n" % (root.encode(), who, who)
    bodies = [(b"commit", commit), (b"tree", tree), (b"blob", pointer)]
    limits = PackLimits()

    def packed(parts: list[tuple[bytes, bytes]]) -> bytes:
        entries = []
        for kind, body in parts:
            with contextlib.suppress(KeyError):
                entries.append(pack_builder.entry(kind.decode("latin-1"), body))
        return pack_builder.pack(entries)

    checked = git_pack.checked_sha1

    def unchecked(messages: Iterable[bytes], _what: str = "") -> list[str]:
        return [hashlib.sha1(each, usedforsecurity=False).hexdigest() for each in messages]

    def run(data: bytes) -> None:
        if data[:4] != b"PACK":
            ours(parse_pointer(data))
            return
        body = data[:-20] if len(data) > 20 else data
        digest = hashlib.sha1(body, usedforsecurity=False).digest()
        # The search for collisions reads no structure and takes 2 ms: one input in 32 gets it.
        git_pack.checked_sha1 = checked if digest[0] < 8 else unchecked
        try:
            objects = read_pack(body + digest, limits)
        finally:
            git_pack.checked_sha1 = checked
        ours(objects or None)
        for name, each in objects.items():
            if each.kind == "commit":
                list_commit(name, objects)
            elif each.kind == "blob":
                with contextlib.suppress(GrokdistError):
                    parse_pointer(each.body)

    def mutate(rng: Any, data: bytes) -> bytes:
        if rng.random() < 0.4:
            return mutation.any_bytes(rng, data)
        if data[:4] != b"PACK":
            return mutation.lines(rng, data)
        parts = list(bodies)
        at = rng.randrange(3)
        changed = mutation.any_bytes if at == 1 else mutation.lines
        kind, body = parts[at]
        body = changed(rng, body)
        parts[at] = (kind, body)
        if at:  # so that the tree and the commit above it still name what was changed
            above = range(at - 1, -1, -1)
            old, new = _object_id(*bodies[at]), _object_id(kind, body)
            for each in above:
                kind, body = parts[each]
                changed_body = body.replace(old, new).replace(
                    old.hex().encode(), new.hex().encode()
                )
                parts[each] = (kind, changed_body)
                old, new = _object_id(kind, body), _object_id(kind, changed_body)
        return packed(parts)

    delta = [
        pack_builder.entry("blob", b"a" * 100),
        pack_builder.entry(
            "ref-delta",
            pack_builder.number(100) + pack_builder.number(50) + pack_builder.copy(0, 50),
            base=_object_id(b"blob", b"a" * 100),
        ),
    ]
    return Target(
        seeds=[packed(bodies), pack_builder.pack(delta), pointer],
        run=run,
        refusals=(GrokdistError,),
        mutate=mutate,
    )


def _object_id(kind: bytes, body: bytes) -> bytes:
    """The id of a git object, 20 bytes."""
    return hashlib.sha1(b"%s %d\0" % (kind, len(body)) + body, usedforsecurity=False).digest()
