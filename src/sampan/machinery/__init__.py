"""Pure functions on API objects: metadata, selectors, quantities, patches, tables, protobuf, names.

No I/O, no clock, no global state. Start with `objects`.
"""
