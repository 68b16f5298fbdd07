"""A body that a client reads over a WebSocket, piece by piece, as Kubernetes offers logs to browsers.

Source: k8s.io/apiserver pkg/util/wsstream: the protocols "" and `binary.k8s.io` send bytes as they are, the protocol
`base64.binary.k8s.io` as text. An empty message comes first, so that a client sees the connection is open before there
is anything to say.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator

from sampan.http import websocket
from sampan.http.messages import Request, Response
from sampan.http.websocket import WebSocket

BINARY, BASE64 = "binary.k8s.io", "base64.binary.k8s.io"


def stream(request: Request, pieces: AsyncIterator[bytes]) -> Response:
    """The response that sends each piece as one message, and closes after the last. 400 for unknown protocols."""
    offered = websocket.protocols(request)
    chosen = next((p for p in offered if p in (BINARY, BASE64)), "")
    if offered and not chosen:
        return Response(400, f"unable to negotiate a protocol: we serve {BINARY}, {BASE64}\n".encode())

    async def run(socket: WebSocket) -> None:
        await _send(socket, chosen, b"")
        async for piece in pieces:
            await _send(socket, chosen, piece)
        await socket.close()

    return websocket.accept(request, chosen, run)


async def _send(socket: WebSocket, protocol: str, piece: bytes) -> None:
    if protocol == BASE64:
        await socket.send_text(base64.b64encode(piece).decode())
    else:
        await socket.send(piece)
