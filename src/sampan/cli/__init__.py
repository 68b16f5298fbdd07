"""The `sampan` command: a lazy command table, thin, answering in 100 ms.

Each module here is one command; `main` looks the command up and imports only its module.
May touch: everything, through `app` and sockets; holds no logic of its own. Start with `main`.
"""
