"""The database: a few connections that are kept, and made again when one has broken."""

from __future__ import annotations

import os
import queue
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection

KEPT = 4
_idle: queue.LifoQueue[connection] = queue.LifoQueue(KEPT)


def connect() -> connection:
    """A new connection, by the variables DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD."""
    return psycopg2.connect(
        host=os.environ.get("DB_HOST", "localhost"),
        port=os.environ.get("DB_PORT", "5432"),
        dbname=os.environ.get("DB_NAME", "shop"),
        user=os.environ.get("DB_USER", "shop"),
        password=os.environ["DB_PASSWORD"],
        connect_timeout=3,
        # A peer that has vanished is noticed within seconds.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
        tcp_user_timeout=10_000,
    )


@contextmanager
def transaction() -> Iterator[connection]:
    """A connection for one transaction: committed at the end, rolled back on an exception."""
    try:
        held = _idle.get_nowait()
    except queue.Empty:
        held = connect()
    try:
        with held:
            yield held
    except psycopg2.Error:
        held.close()  # perhaps it is broken: the next one takes a new connection
        raise
    try:
        _idle.put_nowait(held)
    except queue.Full:
        held.close()


def forget() -> None:
    """Drop the idle connections, which may all have broken when the database restarted."""
    while True:
        try:
            _idle.get_nowait().close()
        except queue.Empty:
            return
