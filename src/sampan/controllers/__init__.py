"""The built-in controllers, one file for each. Each one observes, decides, and leaves acting to `reconcile`.

Start with `replicaset`.
"""
