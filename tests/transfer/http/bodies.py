"""Bodies of answers, read as a download reads them."""

from __future__ import annotations

from grokdist.transfer.sources.http_transport import HttpResponse


def read_all(response: HttpResponse, size: int = 1 << 40, block: int = 1 << 16) -> bytes:
    """The next ``size`` bytes, or those up to the end."""
    buffer = memoryview(bytearray(block))
    data = bytearray()
    while count := response.read_into(buffer[: min(block, size - len(data))]):
        data += buffer[:count]
    return bytes(data)
