"""A cluster of 3 namespaces x 3 pods, and policies for it: picked by hand, and drawn."""

from random import Random
from typing import Any

from tests.kube.policy_reading import Object

PORTS = (53, 80, 443, 8080, 8090)
PROTOCOLS = ("TCP", "UDP", "SCTP")
OUTSIDE = ("198.51.100.7", "203.0.113.9")
SPACES = {"shop": {"team": "a", "tier": "front"}, "db": {"team": "b"}, "mon": {}}
NAMES = {"api": {"app": "api", "tier": "front"}, "web": {"app": "web"}, "job": {"app": "job", "batch": "yes"}}
NODES = {"node-a": "172.18.0.2", "node-b": "172.18.0.3"}


def cluster() -> list[Object]:
    """The objects of the cluster, without policies."""
    found: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n, "labels": labels}}
        for n, labels in SPACES.items()
    ]
    for index, (node, address) in enumerate(NODES.items()):
        found.append(
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": node, "labels": {"zone": "ab"[index]}},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }
        )
    for number, (space, name) in enumerate((s, n) for s in SPACES for n in NAMES):
        node = list(NODES)[number % 2]
        found.append(pod(space, name, node, f"10.244.{number % 2 + 1}.{number + 2}", NAMES[name]))
    found.append({**pod("mon", "agent", "node-b", NODES["node-b"], {"app": "agent"}, host=True)})
    return found


def pod(
    space: str, name: str, node: str, address: str, labels: dict[str, str], *, host: bool = False
) -> Object:
    """One running pod with the ports http (8080, in shop 80), dns (UDP 53) and a nameless 443."""
    http = 80 if space == "shop" else 8080
    ports = [
        {"name": "http", "containerPort": http},
        {"name": "dns", "containerPort": 53, "protocol": "UDP"},
        {"containerPort": 443},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": space, "labels": labels},
        "spec": {"nodeName": node, "hostNetwork": host, "containers": [{"name": "c", "ports": ports}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def policy(space: str, spec: Object, name: str = "p") -> Object:
    """A NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": space},
        "spec": spec,
    }


def admin(spec: Object, priority: int | None, name: str = "default") -> Object:
    """An AdminNetworkPolicy, or without a priority the baseline one."""
    return {
        "apiVersion": "policy.networking.k8s.io/v1alpha1",
        "kind": "BaselineAdminNetworkPolicy" if priority is None else "AdminNetworkPolicy",
        "metadata": {"name": name},
        "spec": {**spec, **({} if priority is None else {"priority": priority})},
    }


_API: Object = {"matchLabels": {"app": "api"}}
_TEAM_A: Object = {"matchLabels": {"team": "a"}}

#: Picked by hand: what people get wrong, one thing each.
PICKED: dict[str, list[Object]] = {
    "none": [],
    "default deny ingress": [policy("shop", {"podSelector": {}, "policyTypes": ["Ingress"]})],
    "default deny egress": [policy("shop", {"podSelector": {}, "policyTypes": ["Egress"]})],
    "default deny both": [policy("shop", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})],
    "no types, no rules": [policy("shop", {"podSelector": {}})],
    "no types, egress rules": [policy("shop", {"podSelector": {}, "egress": [{}]})],
    "rules of a type that is not named": [
        policy("shop", {"podSelector": {}, "policyTypes": ["Egress"], "ingress": [{}], "egress": [{}]})
    ],
    "allow all": [policy("shop", {"podSelector": {}, "ingress": [{}]})],
    "empty lists": [policy("shop", {"podSelector": {}, "ingress": [{"from": [], "ports": []}]})],
    "selects nothing": [policy("shop", {"podSelector": {"matchLabels": {"app": "nobody"}}})],
    "and": [
        policy(
            "db",
            {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": _TEAM_A, "podSelector": _API}]}]},
        )
    ],
    "or": [
        policy(
            "db",
            {
                "podSelector": {},
                "ingress": [{"from": [{"namespaceSelector": _TEAM_A}, {"podSelector": _API}]}],
            },
        )
    ],
    "any namespace": [policy("db", {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]})],
    "own namespace": [policy("db", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})],
    "by the namespace's name": [
        policy(
            "db",
            {
                "podSelector": {},
                "ingress": [
                    {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mon"}}}]}
                ],
            },
        )
    ],
    "block": [
        policy(
            "db",
            {
                "podSelector": {},
                "ingress": [
                    {
                        "from": [
                            {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["203.0.113.0/24", "10.244.1.0/24"]}}
                        ]
                    }
                ],
            },
        )
    ],
    "named port": [policy("db", {"podSelector": {}, "ingress": [{"ports": [{"port": "http"}]}]})],
    "named port, egress": [
        policy(
            "mon", {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"ports": [{"port": "http"}]}]}
        )
    ],
    "named port of another protocol": [
        policy("db", {"podSelector": {}, "ingress": [{"ports": [{"port": "dns"}]}]})
    ],
    "range": [policy("db", {"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 8080}]}]})],
    "protocol alone": [policy("db", {"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]})],
    "two add up": [
        policy("db", {"podSelector": {}, "ingress": [{"from": [{"podSelector": _API}]}]}, "one"),
        policy("db", {"podSelector": _API, "ingress": [{"ports": [{"port": 443}]}]}, "two"),
    ],
    "admin denies what a policy allows": [
        policy("db", {"podSelector": {}, "ingress": [{}]}),
        admin(
            {
                "subject": {"namespaces": {}},
                "ingress": [
                    {
                        "action": "Deny",
                        "from": [{"namespaces": _TEAM_A}],
                        "ports": [{"portNumber": {"port": 80}}],
                    }
                ],
            },
            10,
            "ten",
        ),
    ],
    "admin allows what a policy denies": [
        policy("db", {"podSelector": {}}),
        admin(
            {
                "subject": {"namespaces": {}},
                "ingress": [{"action": "Allow", "from": [{"namespaces": _TEAM_A}]}],
            },
            10,
            "t",
        ),
    ],
    "priorities": [
        admin(
            {"subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
            20,
            "later",
        ),
        admin(
            {
                "subject": {"namespaces": {}},
                "ingress": [{"action": "Pass", "from": [{"namespaces": _TEAM_A}]}],
            },
            5,
            "pass",
        ),
        policy("db", {"podSelector": _API}),
    ],
    "baseline only where nothing isolates": [
        admin(
            {"subject": {"namespaces": {}}, "ingress": [{"action": "Deny", "from": [{"namespaces": {}}]}]},
            None,
        ),
        policy("db", {"podSelector": _API, "ingress": [{}]}),
    ],
    "nodes and networks": [
        admin(
            {
                "subject": {"pods": {"namespaceSelector": {}, "podSelector": _API}},
                "egress": [
                    {"action": "Allow", "to": [{"nodes": {"matchLabels": {"zone": "b"}}}]},
                    {"action": "Deny", "to": [{"networks": ["172.18.0.0/16", "198.51.100.0/24"]}]},
                ],
            },
            0,
            "n",
        )
    ],
}


def drawn(lots: Random) -> list[Object]:
    """One to three policies, and now and then some of the administrator's."""
    found = [policy(lots.choice([*SPACES]), _spec(lots), f"p{index}") for index in range(lots.randint(1, 3))]
    if lots.random() < 0.3:
        numbers = lots.sample(range(100), lots.randint(1, 2))
        found += [admin(_admin_spec(lots, ("Allow", "Deny", "Pass")), n, f"a{n}") for n in numbers]
    if lots.random() < 0.2:
        found.append(admin(_admin_spec(lots, ("Allow", "Deny")), None))
    return found


def _spec(lots: Random) -> Object:
    spec: Object = {"podSelector": _selector(lots, pods=True)}
    if lots.random() < 0.7:
        spec["policyTypes"] = lots.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        if lots.random() < 0.7:
            spec[direction] = [_rule(lots, peers) for _ in range(lots.randint(0, 2))]
    return spec


def _rule(lots: Random, peers: str) -> Object:
    rule: Object = {}
    if lots.random() < 0.8:
        rule[peers] = [_peer(lots) for _ in range(lots.randint(0, 2))]
    if lots.random() < 0.6:
        rule["ports"] = [_port(lots) for _ in range(lots.randint(0, 2))]
    return rule


def _peer(lots: Random) -> Object:
    kind = lots.choice(["pods", "spaces", "both", "block"])
    if kind == "block":
        return {"ipBlock": _block(lots)}
    found: Object = {}
    if kind in ("pods", "both"):
        found["podSelector"] = _selector(lots, pods=True)
    if kind in ("spaces", "both"):
        found["namespaceSelector"] = _selector(lots, pods=False)
    return found


def _block(lots: Random) -> Object:
    cidr, *inside = lots.choice(
        [
            ("0.0.0.0/0", "198.51.100.0/24", "10.244.0.0/16", "172.18.0.3/32"),
            ("10.244.0.0/16", "10.244.2.0/24", "10.244.1.2/32"),
            ("198.51.100.0/24", "198.51.100.7/32"),
            ("172.18.0.0/24", "172.18.0.2/32"),
            ("2001:db8::/32", "2001:db8:1::/48"),
        ]
    )
    some = lots.sample(inside, lots.randint(0, len(inside)))
    return {"cidr": cidr, **({"except": some} if some else {})}


def _port(lots: Random) -> Object:
    found: Object = {}
    if lots.random() < 0.6:
        found["protocol"] = lots.choice(PROTOCOLS)
    kind = lots.random()
    if kind < 0.4:
        found["port"] = lots.choice(PORTS)
    elif kind < 0.6:
        found["port"] = lots.choice(["http", "dns", "nothing"])
    elif kind < 0.8:
        first, last = sorted(lots.choices(PORTS, k=2))
        found |= {"port": first, "endPort": last}
    return found


def _selector(lots: Random, *, pods: bool) -> Object:
    holders: Any = NAMES if pods else SPACES
    pairs = [(k, v) for labels in holders.values() for k, v in labels.items()]
    if not pods:
        pairs += [("kubernetes.io/metadata.name", name) for name in SPACES]
    kind = lots.random()
    if kind < 0.25:
        return {}
    key, value = lots.choice(pairs)
    if kind < 0.55:
        return {"matchLabels": {key: value}}
    operator = lots.choice(["In", "NotIn", "Exists", "DoesNotExist"])
    expression: Object = {"key": key, "operator": operator}
    if operator in ("In", "NotIn"):
        expression["values"] = sorted({value, lots.choice(pairs)[1]})
    return {"matchExpressions": [expression]}


def _admin_spec(lots: Random, actions: tuple[str, ...]) -> Object:
    spec: Object = {"subject": _admin_peer(lots, subject=True)}
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        spec[direction] = [
            {
                "action": lots.choice(actions),
                peers: [_admin_peer(lots, subject=direction == "ingress") for _ in range(lots.randint(1, 2))],
                **({"ports": [_admin_port(lots)]} if lots.random() < 0.4 else {}),
            }
            for _ in range(lots.randint(0, 2))
        ]
    return spec


def _admin_peer(lots: Random, *, subject: bool) -> Object:
    kind = lots.choice(["namespaces", "pods"] if subject else ["namespaces", "pods", "nodes", "networks"])
    if kind == "namespaces":
        return {"namespaces": _selector(lots, pods=False)}
    if kind == "pods":
        return {
            "pods": {
                "namespaceSelector": _selector(lots, pods=False),
                "podSelector": _selector(lots, pods=True),
            }
        }
    if kind == "nodes":
        return {"nodes": lots.choice([{}, {"matchLabels": {"zone": "a"}}])}
    return {"networks": [_block(lots)["cidr"]]}


def _admin_port(lots: Random) -> Object:
    kind = lots.random()
    if kind < 0.4:
        return {"portNumber": {"protocol": lots.choice(PROTOCOLS), "port": lots.choice(PORTS)}}
    if kind < 0.7:
        first, last = sorted(lots.choices(PORTS, k=2))
        return {"portRange": {"protocol": lots.choice(PROTOCOLS), "start": first, "end": last}}
    return {"namedPort": lots.choice(["http", "dns", "nothing"])}
