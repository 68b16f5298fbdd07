"""The supervisor: a tiny root process that starts a cluster's processes and restarts those that die.

It imports nothing of Sampan and no asyncio, so that it stays small. It may be killed at any time: the processes
live on, and the next one adopts them. Start with `table` (when to start and stop what), then `loop`.
`client` is for those who ask it.
"""
