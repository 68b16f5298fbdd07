"""The kubelet: the pods of one node, run through CRI, and the kubelet's own API.

Start with `pod`, the life cycle as a table.
"""
