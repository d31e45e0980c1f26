"""
Expect: what kube-proxy owes a node, from the cluster's objects.

Lives here: where the objects, kube-proxy's configuration, its mode and its version come from,
and what of the node itself they need.
Not here: the rules (nettrace.kube), the comparison (nettrace.app.expect_diff).
"""

import socket
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from nettrace.app.context import Context
from nettrace.app.node_rules import IPVS_DEVICE, NodeRules, read_node_rules
from nettrace.collect.kube import read_manifests
from nettrace.kube.detect import detect_mode, detect_nft_version, detect_version
from nettrace.kube.expect import expected
from nettrace.kube.expected import Expected, NodeFacts
from nettrace.kube.services import addresses_of_family, prefixes_of_family
from nettrace.kube.traits import NEWEST, layout_version
from nettrace.model.addr import in_prefix
from nettrace.model.errors import UserError
from nettrace.model.kube import Kube, KubeProxyConfig
from nettrace.model.section import Known, SectionKey
from nettrace.parse.manifests import kube_from_documents, parse_documents

__all__ = ["Question", "Wanted", "owed_of", "wanted"]

_KUBE = ("services", "endpoint_slices", "endpoints", "nodes", "proxy", "pods")


class Question(Struct, frozen=True, kw_only=True):
    """What the command line says: "" and None where it leaves it open."""

    node: str = ""
    mode: str = ""
    version: str = ""
    config: Path | None = None
    addresses: tuple[str, ...] = ()


class Wanted(Struct, frozen=True, kw_only=True):
    """
    The question with everything found that it left open.

    ``remarks`` tell what was assumed, for the user.  ``netns`` is the node's namespace, "" where
    its state is not looked at; ``there`` are its rules, None where they are not known.
    """

    kube: Kube
    node: str
    netns: str
    facts: NodeFacts
    there: NodeRules | None = None
    remarks: tuple[str, ...] = ()


def wanted(
    question: Question,
    context: Context | None,
    manifests: Path | None,
    there: NodeRules | None = None,
) -> Wanted:
    """
    Find out what is asked for.

    Without a *context* the objects come from *manifests* and nothing is read from any node; *there*
    is what is known of it then.  UserError where objects or addresses are needed that nobody gave.
    """
    kube = _objects(context, manifests)
    node = question.node or _only_node(kube)
    netns = _netns(context, node)
    remarks: list[str] = []
    config = _config(question, kube, remarks)
    if context is not None and netns:
        there = read_node_rules(context, netns)
    config = _moded(question, config, there, remarks)
    config = _versioned(question, config, there, remarks)
    facts = _facts(question, kube, node, config, context, netns, remarks)
    return Wanted(
        kube=replace(kube, proxy=Known(config)),
        node=node,
        netns=netns,
        facts=facts,
        there=there,
        remarks=tuple(remarks),
    )


def owed_of(found: Wanted, family: int) -> Expected:
    """Return what is owed in one address family."""
    return expected(found.kube, found.node, family, found.facts)


# --- objects and node ------------------------------------------------------------------


def _objects(context: Context | None, manifests: Path | None) -> Kube:
    if context is None:
        if manifests is None:
            raise UserError(
                "there are no Kubernetes objects to derive rules from",
                hint="give them with --manifests DIR, or name a lab or a snapshot that has them",
            )
        return read_manifests(manifests, f"manifests {manifests}")
    context.read_unread([SectionKey("", f"kube/{name}") for name in _KUBE])
    kube = context.snapshot.kube
    if manifests is not None and not context.live:
        return read_manifests(manifests, f"manifests {manifests}")
    for name in ("services", "nodes"):
        section = getattr(kube, name)
        if not isinstance(section, Known):
            raise UserError(
                f"the cluster's {name} are not known: {section.reason or section.kind.value}",
                where=context.label,
                hint="give the cluster's objects with --manifests DIR",
                code=3,
            )
    return kube


def _only_node(kube: Kube) -> str:
    names = [node.name for node in kube.nodes.value] if isinstance(kube.nodes, Known) else []
    if len(names) == 1:
        return names[0]
    here = socket.gethostname()
    if here in names:
        return here
    raise UserError(
        "which node? --node is missing", hint=f"known Nodes: {', '.join(sorted(names)) or 'none'}"
    )


def _netns(context: Context | None, node: str) -> str:
    if context is None:
        return ""
    state = context.snapshot.nodes.get(node)
    return state.netns if state is not None else ""


# --- kube-proxy's configuration --------------------------------------------------------


def _config(question: Question, kube: Kube, remarks: list[str]) -> KubeProxyConfig:
    known = kube.proxy.value if isinstance(kube.proxy, Known) else None
    if question.config is None:
        if known is None:
            remarks.append("kube-proxy's configuration is not known: its defaults are taken")
        return known or KubeProxyConfig()
    documents = parse_documents(_text(question.config), str(question.config))
    for document in documents:
        if document.get("kind") == "KubeProxyConfiguration" and question.mode:
            document["mode"] = question.mode  # the mark's bit is in the section of its mode
    if not any(d.get("kind") in ("KubeProxyConfiguration", "ConfigMap") for d in documents):
        raise UserError(
            "there is no KubeProxyConfiguration in it",
            where=str(question.config),
            hint="kubectl -n kube-system get configmap kube-proxy -o yaml has one",
        )
    given = kube_from_documents(documents, str(question.config)).proxy
    assert isinstance(given, Known)  # noqa: S101  (documents always make one)
    if given.value.version_stated or known is None:
        return given.value
    return replace(given.value, version=known.version, version_stated=known.version_stated)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read kube-proxy's configuration: {reason}", where=str(path)) from error


def _moded(
    question: Question, config: KubeProxyConfig, there: NodeRules | None, remarks: list[str]
) -> KubeProxyConfig:
    """The mode that was asked for, or else the one that runs on the node, or else the configured one."""
    if question.mode:
        return replace(config, mode=question.mode)
    running = detect_mode(there.v4, there.nft) if there is not None else None
    if there is not None and any(there.tables.values()):
        running = "nftables"
    if running is not None and running != (config.mode or "iptables"):
        remarks.append(f"the node's rules are those of mode {running}, though {config.mode} is configured")
        return replace(config, mode=running)
    return config


def _versioned(
    question: Question, config: KubeProxyConfig, there: NodeRules | None, remarks: list[str]
) -> KubeProxyConfig:
    if question.version:
        major, minor = layout_version(question.version)
        return replace(config, version=f"{major}.{minor}", version_stated=True)
    if config.version_stated:
        return config
    seen = _layout_seen(there, config.mode or "iptables")
    if seen is not None:
        remarks.append(f"no object names kube-proxy's version; its rules are laid out as those of {seen}")
    else:
        remarks.append(f"no object names kube-proxy's version: {NEWEST} is taken; --kube-version sets it")
    return replace(config, version=seen or NEWEST)


def _layout_seen(there: NodeRules | None, mode: str) -> str | None:
    """Return the newest version whose layout the node's rules have."""
    if there is None:
        return None
    if mode == "nftables":
        table = next((one for one in there.tables.values() if one is not None), None)
        return detect_nft_version({chain.name for chain in table.chains}) if table is not None else None
    return detect_version(there.v4) if there.v4 is not None and mode == "iptables" else None


# --- what of the node itself is needed -------------------------------------------------


def _facts(
    question: Question,
    kube: Kube,
    node: str,
    config: KubeProxyConfig,
    context: Context | None,
    netns: str,
    remarks: list[str],
) -> NodeFacts:
    addresses: tuple[str, ...] | None = question.addresses or None
    sysctls: dict[str, str] = {}
    if context is not None and netns:
        context.read_unread([SectionKey(netns, name) for name in ("addresses", "sysctls")])
        state = context.snapshot.namespaces[netns]
        if isinstance(state.sysctls, Known):
            sysctls = state.sysctls.value
        if addresses is None and isinstance(state.addresses, Known):
            addresses = tuple(one.address for one in state.addresses.value if one.device != IPVS_DEVICE)
    if addresses is None:
        _need_no_more(kube, node, config, remarks)
    return NodeFacts(addresses=addresses, sysctls=sysctls)


def _need_no_more(kube: Kube, node: str, config: KubeProxyConfig, remarks: list[str]) -> None:
    """
    Make sure that the Node object has the addresses which ``nodePortAddresses`` choose among.

    It lists a node's own, not those of its bridges and tunnels.
    """
    this = (
        next((n for n in kube.nodes.value if n.name == node), None) if isinstance(kube.nodes, Known) else None
    )
    if config.node_port_addresses in ((), ("primary",)) or this is None:
        if config.mode == "ipvs" and not config.node_port_addresses:
            remarks.append(
                f"in ipvs mode each address of the node serves NodePorts: of {node}'s those of its Node "
                "object are taken; --address names others"
            )
        return
    own = (*this.internal_ips, *this.external_ips, "127.0.0.1")
    for family in (4, 6):
        prefixes = prefixes_of_family(config.node_port_addresses, family)
        if not prefixes or any(prefix.endswith("/0") for prefix in prefixes):
            continue
        for prefix in prefixes:
            if not any(in_prefix(address, prefix) for address in addresses_of_family(own, family)):
                raise UserError(
                    f"nodePortAddresses has {prefix}, and the Node object of {node} has no address in it: "
                    "which ones its devices have is not known",
                    hint="give the node's addresses with --address ADDR (several times), or its state with "
                    "--from SNAPSHOT",
                )
        remarks.append(
            f"of {node}'s addresses those of its Node object and of loopback are taken for "
            "nodePortAddresses; --address names others"
        )
        return
