"""Connections for every HTTP face: HTTP/1.1, WebSocket, SPDY and raw upgrades, over TLS, TCP and unix sockets.

Protocol parsing stands apart from sockets. It knows nothing of Kubernetes. Start with `messages` (what a
handler gets and gives), then `server` and `client`.
"""
