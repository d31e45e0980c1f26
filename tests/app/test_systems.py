"""``nettrace show systems``: recognised, counted, and never said to be there without a look."""

import pytest
from msgspec.structs import replace

from nettrace.app.context import Context
from nettrace.app.plugins import load_plugins
from nettrace.app.systems import Systems, systems
from nettrace.collect.kube import absent
from nettrace.diagnose.standing import standing
from nettrace.model.change import FdbDelete, RouteDelete, RuleDelete
from nettrace.model.errors import UserError
from nettrace.model.kube import KubeProxyConfig
from nettrace.model.links import Link
from nettrace.model.nft import NftRuleset
from nettrace.model.owed import OwedLink, OwedSysctl
from nettrace.model.section import NOT_READ, Known, Missing, MissingKind
from nettrace.model.snapshot import Netns, NodeState, Process, Snapshot
from nettrace.model.system import OwedCount, System
from nettrace.model.xt import XtRuleset
from nettrace.render.page import Look
from nettrace.render.shown import systems_document
from nettrace.render.text import render
from tests.diagnose.faults import rule_at
from tests.diagnose.worlds import cluster, docker_host


def found(snapshot: Snapshot, of: str | None = None) -> Systems:
    """The systems of a snapshot file."""
    with Context("file x", snapshot, load_plugins()) as context:
        return systems(context, of=of)


def one(snapshot: Snapshot, name: str, node: str = "node-a") -> System:
    """The system of that name on a node."""
    (chosen,) = (s for s in found(snapshot).found if (s.name, s.node) == (name, node))
    return chosen


def page(all_of_them: Systems, *, wide: bool = False) -> str:
    """The text of it."""
    document = systems_document(all_of_them.found, all_of_them.asked, all_of_them.missing)
    return render(document, Look(wide=wide))


def test_a_healthy_cluster_is_all_there() -> None:
    """flannel and kube-proxy are recognised on both nodes, by its own evidence; what they owe is there."""
    snapshot = cluster().snapshot
    told = found(snapshot)
    assert [(s.name, s.node) for s in told.found] == [
        (name, node) for node in ("node-a", "node-b") for name in ("flannel", "kube-proxy")
    ]
    flannel, proxy = told.found[:2]
    assert flannel.mode == "vxlan"
    assert {c.kind: (c.owed, c.there) for c in flannel.owed} == {
        "routes": (1, 1),
        "neighbours": (1, 1),
        "forwarding entries": (1, 1),
        "chains": (1, 1),
        "rules": (1, 1),
        "settings of devices": (1, 1),
    }
    assert not any("node-b" in e.ref + e.note for e in flannel.evidence)
    assert proxy.mode == "iptables"
    assert {e.ref for e in proxy.evidence} >= {"node-a/xt/nft/nat/KUBE-SERVICES"}
    assert all(c.owed == c.there for c in proxy.owed), proxy
    assert page(told).count(": all there") == 4


def test_what_is_gone_is_counted() -> None:
    """A route, an entry and a Service's rule that are gone are counted, and each has its line."""
    world = cluster()
    node = world.snapshot.namespaces["node-a"]
    assert isinstance(node.routes, Known)
    assert isinstance(node.fdb, Known)
    route = next(r for r in node.routes.value if r.dst == "10.244.2.0/24")
    entry = next(e for e in node.fdb.value if e.device == "flannel.1")
    position, rule = rule_at(world, "node-a", "KUBE-SERVICES", lambda r: r.dst is not None)
    broken = world.edited(
        RouteDelete(netns="node-a", route=route),
        FdbDelete(netns="node-a", entry=entry),
        RuleDelete(
            netns="node-a", backend="nft", table="nat", chain="KUBE-SERVICES", position=position, rule=rule
        ),
    ).snapshot
    flannel, proxy = one(broken, "flannel"), one(broken, "kube-proxy")
    assert {c.kind for c in flannel.owed if c.differing} == {"routes", "forwarding entries"}
    assert len(flannel.differs) == 2
    assert [c.differing for c in proxy.owed if c.kind == "chains"] == [1]
    assert len(proxy.differs) == 1
    text = page(found(broken, "node-a"))
    assert "1 route (1 not as owed)" in text
    assert "no route to 10.244.2.0/24; owed: 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink" in text
    assert one(broken, "flannel", "node-b") == one(world.snapshot, "flannel", "node-b")


def test_what_was_not_read_is_not_there_and_not_gone() -> None:
    """Routes that could not be read count as unknown; an unread rule set is said to be missing."""
    snapshot = cluster().snapshot
    denied = Missing(MissingKind.DENIED, "not allowed")
    node = replace(snapshot.namespaces["node-a"], routes=denied, xt_nft=denied, xt_legacy=denied)
    hidden = snapshot.with_netns(node)
    flannel = one(hidden, "flannel")
    assert {c.kind for c in flannel.owed if c.unknown} == {"routes", "chains", "rules"}
    assert not flannel.differs
    assert "1 route (1 not known)" in page(found(hidden))
    proxy = one(hidden, "kube-proxy")
    assert proxy.unknown.startswith("not all could be compared: xt")


def test_without_the_clusters_objects_nothing_is_owed_and_that_is_said() -> None:
    """Devices and rules show the systems; what they owe is not known, by name of what was not given."""
    snapshot = replace(cluster().snapshot, kube=absent())
    told = found(snapshot, "node-a")
    flannel, proxy = told.found
    assert "kube/nodes: no Kubernetes objects were given" in flannel.unknown
    assert "services are not known" in proxy.unknown
    assert told.missing == {}
    assert "? not all that it owes is known: kube/nodes" in page(told)
    assert "? what it owes is not known: the cluster's services" in page(told)
    # the file that flanneld left says what is to be masqueraded all the same
    assert {c.kind for c in flannel.owed} <= {"chains", "rules"}


def test_docker_and_no_kube_proxy() -> None:
    """On a Docker host there is Docker alone."""
    (docker,) = found(docker_host().snapshot).found
    assert (docker.name, docker.unknown) == ("docker", "")
    assert [(c.kind, c.there) for c in docker.owed if not c.differing] == [("rules", docker.owed[0].owed)]


def test_kube_proxy_by_its_process_alone() -> None:
    """A kube-proxy that runs and has written nothing is there."""
    processes = (Process(pid=7, name="kube-proxy"),)
    empty = Known(XtRuleset({}))
    bare = Snapshot(
        nodes={"n": NodeState(name="n", netns="n", processes=Known(processes), files=Known({}))},
        namespaces={"n": Netns(name="n", node="n", role="node", xt_nft=empty, xt_legacy=empty)},
        kube=absent(),
    )
    proxy = one(bare, "kube-proxy", "n")
    assert [e.text for e in proxy.evidence] == ["kube-proxy (7)"]
    assert (proxy.mode, proxy.version) == ("", "")


def test_a_machine_with_nothing() -> None:
    """Nothing recognised is said, with what was looked for; what was not read is listed beside it."""
    names = ", ".join(sorted((*load_plugins().names, "kube-proxy")))
    said = page(found(Snapshot(kube=absent())))
    assert " ".join(said.split()) == f"no network system was recognised here; looked for {names}"
    bare = Snapshot(
        nodes={"n": NodeState(name="n", netns="n")},
        namespaces={"n": Netns(name="n", node="n", role="node")},
        kube=absent(),
    )
    told = found(bare)
    assert told.found == ()
    assert ("n", "xt/nft") in told.missing
    assert "? n/xt/nft: not known" in page(told)


def test_a_node_that_is_not_there() -> None:
    """It is refused, with the nodes that are."""
    with pytest.raises(UserError, match="no node 'node-z'") as caught:
        found(cluster().snapshot, "node-z")
    assert caught.value.hint == "known: node-a, node-b"


def test_an_old_layout_is_not_derived() -> None:
    """What a kube-proxy of another layout owes is not known, with the reason."""
    snapshot = cluster().snapshot
    old = KubeProxyConfig(version="1.10", version_stated=True)
    proxy = one(replace(snapshot, kube=replace(snapshot.kube, proxy=Known(old))), "kube-proxy")
    assert proxy.unknown.startswith("what it owes is not known")
    assert proxy.owed == ()


def test_ipvs_before_its_first_run() -> None:
    """Configured as ipvs and with none of its state: chains, sets and servers are gone, or not known."""
    snapshot = cluster().snapshot
    assert isinstance(snapshot.kube.proxy, Known)
    config = replace(snapshot.kube.proxy.value, mode="ipvs", version="1.30", version_stated=True)
    empty = Known(XtRuleset({}))
    node = replace(
        snapshot.namespaces["node-a"],
        xt_nft=empty,
        xt_legacy=empty,
        ipsets=Known(()),
        nft=Known(NftRuleset()),
    )
    proxy = one(
        replace(snapshot.with_netns(node), kube=replace(snapshot.kube, proxy=Known(config))), "kube-proxy"
    )
    assert (proxy.mode, proxy.version) == ("ipvs", "1.30")
    counts = {count.kind: count for count in proxy.owed}
    assert counts["ipsets"].differing == counts["ipsets"].owed > 0
    assert counts["chains"].differing == counts["chains"].owed > 0
    assert counts["virtual servers"].unknown == counts["virtual servers"].owed > 0
    assert "ipvs" in proxy.unknown
    read = snapshot.with_netns(replace(node, ipvs=Known(())))
    proxy = one(replace(read, kube=replace(snapshot.kube, proxy=Known(config))), "kube-proxy")
    counts = {count.kind: count for count in proxy.owed}
    assert counts["virtual servers"].differing == counts["virtual servers"].owed


def test_sysctls_and_settings_of_devices() -> None:
    """They are counted like all else, and not known where their section is not."""
    owed = (
        OwedSysctl(netns="n", owner="x", source="y", name="a", values=("1",)),
        OwedLink(netns="n", owner="x", source="y", device="d", attribute="up", value="on"),
    )
    there = Netns(
        name="n",
        node="n",
        role="node",
        sysctls=Known({"a": "1"}),
        links=Known((Link(index=1, name="d", kind="dummy", up=False),)),
    )
    assert standing(Snapshot(namespaces={"n": there}), owed).counts == (
        OwedCount(kind="sysctls", owed=1),
        OwedCount(kind="settings of devices", owed=1, differing=1),
    )
    unread = replace(there, sysctls=NOT_READ, links=NOT_READ)
    assert [c.unknown for c in standing(Snapshot(namespaces={"n": unread}), owed).counts] == [1, 1]


def test_long_lists_are_cut() -> None:
    """Six lines of a kind are printed, all with --wide; counts of one have no plural."""
    counts = [OwedCount(kind=k, owed=1) for k in ("sets and maps", "virtual servers", "settings of devices")]
    system = System(name="x", node="n", netns="n", owed=tuple(counts), differs=tuple(map(str, range(9))))
    told = Systems(found=(system, replace(system, node="m")), asked=(), missing={})
    assert page(told).count("and 3 more") == 2
    assert "and 3 more" not in page(told, wide=True)
    assert "1 set or map, 1 virtual server, 1 setting of devices: all there" in page(told)
    nothing = replace(system, owed=(), differs=())
    assert "owes     nothing" in page(Systems(found=(nothing,), asked=(), missing={}))
