"""What a node's network namespace has before its first pod: a link for the node's own addresses, forwarding, rules.

Pods are not ports of a bridge: each has a link of its own to the node, and a /32 route. All traffic between pods is
thus routed, passes the rules, and cannot carry a forged source. The link named `ranges.bridge` has no ports where
there is one node; it holds the addresses that pods know: their gateway, the API's, and that of the cluster DNS.

The table `ranges.table` is written here and by `pods` (host ports); `services` has a table of its own.
"""

from __future__ import annotations

from sampan.host import netlink, netns, nft
from sampan.host.netlink import Netlink
from sampan.network.addresses import NodeNetwork, mac

# Packets that must leave with the node's own address as their source carry this bit until `postrouting`, which
# serves our other tables too. kube-proxy's is 0x4000.
MARKED = "0x2000"
MARK = f"meta mark set meta mark | {MARKED}"

# Kernel parameters of a node's namespace.
SYSCTLS = {"net/ipv4/ip_forward": "1"}
DEFAULT_MTU = 1500


def rules(node: NodeNetwork) -> str:
    """The script that brings the node's table into its proper state and keeps host ports that stand in it."""
    t = f"ip {node.ranges.table}"
    port = "meta l4proto { tcp, udp, sctp } dnat ip to"
    chains = {
        # Loopback addresses never travel: only the node itself may use them (CVE-2020-8558).
        "loopback": (
            "type filter hook prerouting priority raw; policy accept;",
            *(f'iifname "{d}" ip saddr 127.0.0.0/8 drop' for d in node.devices),
            *(f'iifname "{d}" ip daddr 127.0.0.0/8 drop' for d in node.devices),
        ),
        "hostports": (
            "",
            f"fib daddr type local {port} ip daddr . meta l4proto . th dport map @hostports",
            f"fib daddr type local {port} meta l4proto . th dport map @hostports-any",
        ),
        "prerouting": ("type nat hook prerouting priority dstnat; policy accept;", "jump hostports"),
        "output": ("type nat hook output priority -100; policy accept;", "jump hostports"),
        "postrouting": ("type nat hook postrouting priority srcnat; policy accept;", *_masquerade(node)),
    }
    lines = [
        f"add table {t}",
        f"add map {t} hostports {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}",
        f"add map {t} hostports-any {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}",
        f"add set {t} hairpin {{ type ipv4_addr . ipv4_addr; }}",
    ]
    for name, (base, *_) in chains.items():
        lines += [
            f"add chain {t} {name} {{ {base} }}" if base else f"add chain {t} {name}",
            f"flush chain {t} {name}",
        ]
    for name, (_, *body) in chains.items():
        lines += [f"add rule {t} {name} {rule}" for rule in body]
    return "\n".join(lines) + "\n"


def _masquerade(node: NodeNetwork) -> list[str]:
    """What leaves with another source than its own.

    Links of pods have no address, so towards pods the node's own is named; masquerading would pick some address.
    """
    pods, services = node.ranges.pods, node.ranges.services
    own = f"ip daddr {pods} snat to {node.own_addresses[0]}"
    # To oneself through a host port: the answer must come back through here, or it would not fit the question.
    found = [f"ct status dnat ip saddr . ip daddr @hairpin {own}"]
    # Likewise when a node's pod reaches a pod of that same node by a port of the host.
    found += [f"ct status dnat ip saddr {pods} {own}"] if not node.pod_cidr else []
    found += [f"ip saddr 127.0.0.0/8 {own}"]
    found += [f"meta mark & {MARKED} == {MARKED} {rest}" for rest in (own, "masquerade fully-random")]
    if node.edge:
        inside = f"{{ {pods}, {services} }}"
        found.append(f"ip saddr {pods} ip daddr != {inside} fib daddr type != local masquerade fully-random")
    return found


def prepare(node: NodeNetwork, mtu: int = 0) -> int:
    """Bring the calling thread's namespace into the state that pods need; returns the MTU. Idempotent; blocks.

    Raises NetlinkError, OSError or NftError.
    """
    bridge = node.ranges.bridge
    with Netlink() as kernel:
        mtu = mtu or uplink_mtu(kernel)
        kernel.send(
            netlink.bridge(bridge, mac=mac(node.own_addresses[0]), mtu=mtu),
            netlink.link("lo", up=True),
        )
        index = netlink.index(bridge)
        local = [(netlink.ROUTE_LOCALNET, 1)]
        kernel.send(
            netlink.link(bridge, ipv4=local, ipv6=False),
            netlink.link(bridge, up=True),
            *(netlink.address(index, f"{a}/32") for a in node.own_addresses),
            netlink.route(node.ranges.services, index, source=node.gateway),
        )
    netns.write_sysctls(SYSCTLS)
    nft.run(rules(node))
    return mtu


def uplink_mtu(kernel: Netlink) -> int:
    """The MTU of the link with the default route, which pods need no more than."""
    default = {r.index for r in kernel.routes() if r.destination == "0.0.0.0/0"}
    return min((link.mtu for link in kernel.links() if link.index in default), default=DEFAULT_MTU)
