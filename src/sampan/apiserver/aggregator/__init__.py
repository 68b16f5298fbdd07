"""Other API servers behind this one: `services` follows the APIServices and looks whether theirs answer, `front` is the
identity under which this server speaks for its users, `proxy` passes their requests on.
Source: k8s.io/kube-aggregator.
"""
