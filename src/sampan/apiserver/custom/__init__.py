"""Custom kinds: `definitions` follows the CustomResourceDefinitions and serves what they define; `naming` decides on
their names and conditions; `conversion` asks webhooks to convert between versions.
"""
