"""A connection of a test to a server, byte by byte."""

import asyncio


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        line, *fields = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
        headers = dict(field.split(": ", 1) for field in fields)
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(line.split()[1]), headers, body

    async def at_end(self) -> bool:
        return await self._reader.read() == b""

    async def ask(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(request)
        return await self.answer()

    async def interim(self) -> bytes:
        """Return the head of a response without a length: of an interim one, or of one in chunks."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def rest_of_chunks(self) -> bytes:
        """Return the chunks that are still to come of a response, with their lengths."""
        return await self._reader.readuntil(b"0\r\n\r\n")
