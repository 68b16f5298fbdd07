"""Sampan: a whole cloud-native platform in one small boat.

Start reading at `app.py`, which composes the rooms into processes; each room's `__init__.py` says what it is
for and where to go on. `docs/architecture.md` walks a `kubectl apply` and a log line through all of them.
"""

__version__ = "0.1.0"
