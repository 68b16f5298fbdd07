"""Bring the schema up to date: each file of `migrations` once, in order. With --wait: wait until that is done."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psycopg2
from database import connect

FILES = sorted((Path(__file__).parent / "migrations").glob("*.sql"))
ONE_AT_A_TIME = 7_301_954  # the number of the advisory lock: any, but always the same


def migrate() -> None:
    with connect() as held, held.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (ONE_AT_A_TIME,))
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, done timestamptz DEFAULT now())"
        )
        cursor.execute("SELECT name FROM migrations")
        done = {name for (name,) in cursor}
        for file in FILES:
            if file.name not in done:
                print(f"applying {file.name}")
                cursor.execute(file.read_text())
                cursor.execute("INSERT INTO migrations (name) VALUES (%s)", (file.name,))
    print("the schema is up to date")


def is_done() -> bool:
    try:
        with connect() as held, held.cursor() as cursor:
            cursor.execute("SELECT name FROM migrations")
            return {f.name for f in FILES} <= {name for (name,) in cursor}
    except psycopg2.Error as e:
        print(f"not yet: {str(e).strip().splitlines()[0]}")
        return False


def main() -> None:
    if "--wait" not in sys.argv:
        migrate()
        return
    while not is_done():
        time.sleep(0.5)
    print("the schema is there")


main()
