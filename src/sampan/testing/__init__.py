"""A real cluster in a test: `with sampan.testing.cluster() as c:`, and a pytest fixture.
"""
