"""
The rules of one Service with three pods, as kube-proxy would write them.

Lives here: Service 10.96.0.1:80 or [fd00:96::1]:80 with NodePort 30080, its pods at port 9376, and
DNS at 10.96.0.10:53 or [fd00:96::10]:53, which is the second pod.
Not here: the network that they are for (walkbed, walkbed6).
"""

__all__ = ["service_rules"]


def service_rules(family: int) -> str:
    """Return them for iptables-restore (4) or ip6tables-restore (6)."""
    if family == 4:
        pods = [f"10.244.1.{number}" for number in (2, 3, 4)]
        words = {
            "pods": "10.244.0.0/16",
            "web": "10.96.0.1/32",
            "dns": "10.96.0.10/32",
            "host": "/32",
            "outside": "",
        }
    else:
        pods = [f"fd00:244:1::{number}" for number in (2, 3, 4)]
        words = {"pods": "fd00:244::/32", "web": "fd00:96::1/128", "dns": "fd00:96::10/128", "host": "/128"}
        words["outside"] = "! -d ::1/128 "
    for name, address in zip(("first", "second", "third"), pods, strict=True):
        words |= {name: address, f"{name}_end": address if family == 4 else f"[{address}]"}
    return _RULES.format(**words)


_RULES = """*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-EXT - [0:0]
:KUBE-SVC - [0:0]
:KUBE-SEP1 - [0:0]
:KUBE-SEP2 - [0:0]
:KUBE-SEP3 - [0:0]
:KUBE-DNS - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A POSTROUTING -s {pods} ! -d {pods} -j MASQUERADE --random-fully
-A KUBE-SERVICES -d {web} -p tcp -m tcp --dport 80 -j KUBE-SVC
-A KUBE-SERVICES -d {dns} -p udp -m udp --dport 53 -j KUBE-DNS
-A KUBE-SERVICES {outside}-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT
-A KUBE-EXT -j KUBE-MARK-MASQ
-A KUBE-EXT -j KUBE-SVC
-A KUBE-DNS -p udp -j DNAT --to-destination {second_end}:53
-A KUBE-SVC ! -s {pods} -d {web} -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC -m statistic --mode random --probability 0.33333333349 -j KUBE-SEP1
-A KUBE-SVC -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP2
-A KUBE-SVC -j KUBE-SEP3
-A KUBE-SEP1 -s {first}{host} -j KUBE-MARK-MASQ
-A KUBE-SEP1 -p tcp -m tcp -j DNAT --to-destination {first_end}:9376
-A KUBE-SEP2 -s {second}{host} -j KUBE-MARK-MASQ
-A KUBE-SEP2 -p tcp -m tcp -j DNAT --to-destination {second_end}:9376
-A KUBE-SEP3 -s {third}{host} -j KUBE-MARK-MASQ
-A KUBE-SEP3 -p tcp -m tcp -j DNAT --to-destination {third_end}:9376
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FORWARD - [0:0]
-A FORWARD -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""
