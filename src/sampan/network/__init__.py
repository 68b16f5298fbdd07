"""The pod network, Services, and cluster DNS.

Start with `services`.
"""
