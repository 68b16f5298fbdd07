"""What each kind of API object is: one file for each kind, with schema, defaults, validation, columns, subresources.

CustomResourceDefinitions will take the same path. Start with `kind`, then any kind, such as `deployment`;
`docs/adding-a-kind.md` is the checklist.
"""
