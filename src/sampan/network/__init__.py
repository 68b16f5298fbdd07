"""The pod network, Services, and cluster DNS.

Two parts meet only in the kernel. The engine attaches sandboxes (`attachment`, with `pods` ours and `cni` for other
people's plugins). The `agent` follows the API: `feed` keeps a small `book` of services and endpoints, `services`
decides rules from it, `ruleset` finds the change, `proxy` writes it, and `dns` answers from the book. Below lie
`addresses` (who has which address), `ground` (what a node's namespace has before any pod) and `nodes` (several nodes
on one machine). All state is in the kernel or follows from the API, so any process may end at any moment.

Touches the kernel only through `host` (netlink, netns, nft, conntrack). Start with `addresses`, `pods`, `services`.
"""
