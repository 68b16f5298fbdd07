"""The shop's API.

GET  /api/products           the shop's name, and what can be ordered
GET  /api/orders             the latest orders
POST /api/orders             {"product": ..., "quantity": ...}
GET  /healthz                the process answers
GET  /readyz                 the database answers, too
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg2
from database import forget, transaction

SETTINGS = os.environ.get("SETTINGS", "/etc/shop/shop.json")
POD = os.environ.get("POD_NAME") or socket.gethostname()


class Refused(Exception):
    """The request cannot be carried out; says why, for the person who made it."""

    def __init__(self, status: HTTPStatus, message: str):
        super().__init__(message)
        self.status = status


def settings() -> dict[str, Any]:
    """Read at each request, so that a change of the ConfigMap shows without a restart."""
    try:
        with open(SETTINGS) as f:
            return json.load(f)
    except FileNotFoundError:
        return {}


def money(amount: Any) -> str:
    return f"{amount} {settings().get('currency', 'EUR')}"


def products() -> dict[str, Any]:
    with transaction() as held, held.cursor() as cursor:
        cursor.execute("SELECT name, price FROM products ORDER BY name")
        found = [{"name": name, "price": money(price)} for name, price in cursor]
    return {"name": settings().get("name", "The shop"), "products": found}


def orders() -> dict[str, Any]:
    with transaction() as held, held.cursor() as cursor:
        cursor.execute(
            "SELECT id, product, quantity, quantity * price, placed FROM orders JOIN products ON product = name"
            " ORDER BY id DESC LIMIT 50"
        )
        names = ("id", "product", "quantity", "price", "placed")
        found = [dict(zip(names, row, strict=True)) for row in cursor]
    for each in found:
        each |= {"price": money(each["price"]), "placed": each["placed"].isoformat()}
    return {"orders": found, "pod": POD}


def order(body: bytes) -> dict[str, Any]:
    try:
        wanted = json.loads(body)
        product, quantity = str(wanted["product"]), int(wanted["quantity"])
    except (ValueError, KeyError, TypeError):
        raise Refused(HTTPStatus.BAD_REQUEST, 'an order is {"product": name, "quantity": number}') from None
    try:
        with transaction() as held, held.cursor() as cursor:
            cursor.execute(
                "INSERT INTO orders (product, quantity) VALUES (%s, %s) RETURNING id", (product, quantity)
            )
            (number,) = cursor.fetchone()
    except psycopg2.errors.ForeignKeyViolation:
        raise Refused(HTTPStatus.NOT_FOUND, f"there is no product {product!r}") from None
    except (psycopg2.errors.CheckViolation, psycopg2.errors.NumericValueOutOfRange):
        raise Refused(HTTPStatus.BAD_REQUEST, "a quantity is from 1 to 100") from None
    return {"id": number, "pod": POD}


def ready() -> dict[str, Any]:
    with transaction() as held, held.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {"ready": True}


ROUTES = {
    ("GET", "/api/products"): lambda _: products(),
    ("GET", "/api/orders"): lambda _: orders(),
    ("POST", "/api/orders"): order,
    ("GET", "/healthz"): lambda _: {"alive": True},
    ("GET", "/readyz"): lambda _: ready(),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    quiet = ("/healthz", "/readyz")

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, answer = self._answer(body)
        except Refused as e:
            status, answer = e.status, {"error": str(e)}
        except psycopg2.Error as e:
            forget()
            status, answer = (
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"error": "the database does not answer; try again"},
            )
            self.log_error("%s", str(e).strip())
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, body: bytes) -> tuple[HTTPStatus, dict[str, Any]]:
        route = ROUTES.get((self.command, self.path.partition("?")[0]))
        if not route:
            raise Refused(HTTPStatus.NOT_FOUND, f"there is no {self.command} {self.path}")
        return (HTTPStatus.CREATED if self.command == "POST" else HTTPStatus.OK), route(body)

    do_GET = do_POST = handle_any

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if self.path not in self.quiet:
            super().log_request(code, size)


def main() -> None:
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"{POD} listens on port {server.server_address[1]}")
    server.serve_forever()


main()
