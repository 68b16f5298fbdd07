"""The kubelet's own API: logs, exec, attach, port-forward, figures. `api` holds the table of its paths."""
