"""The revisioned log with watch under the API server: SQLite on disk, etcd where there are several, memory for tests.

`api` is the contract, and one contract suite holds over every store. Start with `api`.
"""
