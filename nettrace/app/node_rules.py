"""
The rules of kube-proxy that a node has, of both address families.

Lives here: reading them whole, from a live node, a snapshot or a saved dump.
"""

from pathlib import Path
from typing import Any

from msgspec import Struct, field

from nettrace.app.context import Context
from nettrace.kube.detect import has_kube_proxy
from nettrace.kube.expected import ExpectedNftTable
from nettrace.kube.nft_found import listed_tables
from nettrace.kube.nft_read import found_table, sections_of
from nettrace.model.errors import UserError
from nettrace.model.ipset import IpSet
from nettrace.model.ipvs import VirtualServer
from nettrace.model.late import at_hand
from nettrace.model.nft import NftRuleset
from nettrace.model.section import Known, Missing, MissingKind, SectionKey
from nettrace.model.xt import BACKENDS, XtRuleset
from nettrace.parse.iptables import parse_save

__all__ = ["IPVS_DEVICE", "NodeRules", "is_dump", "read_dump", "read_node_rules"]

_TABLES = ("mangle", "nat", "filter")
#: Its addresses are those of Services, not the node's.
IPVS_DEVICE = "kube-ipvs0"

_FAMILIES = {4: "ip", 6: "ip6"}


class NodeRules(Struct, frozen=True, kw_only=True):
    """
    What is there: ``v4`` and ``v6`` are rule sets of one back end, None where none was read.

    Of two back ends it is the one that holds kube-proxy's chains, iptables-nft before
    iptables-legacy; ``chosen`` says which (``xt/nft``).  ``tables`` are kube-proxy's native ones by
    family, None where there is none; no entry where they are not known.

    ``ipsets``, ``servers`` (of IPVS) and ``bound``, the addresses of kube-ipvs0, are None where they were
    not read.
    ``missing`` are the sections that could not be read, with the reason.
    """

    v4: XtRuleset | None = None
    v6: XtRuleset | None = None
    nft: NftRuleset | None = None
    tables: dict[int, ExpectedNftTable | None] = field(default_factory=dict)
    ipsets: tuple[IpSet, ...] | None = None
    servers: tuple[VirtualServer, ...] | None = None
    bound: tuple[str, ...] | None = None
    chosen: dict[int, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def of(self, family: int) -> XtRuleset | None:
        """Return the rule set of one family."""
        return self.v6 if family == 6 else self.v4

    def unread(self, family: int, *, nft: bool = False) -> dict[str, str]:
        """
        Return what of one family's rules could not be read.

        The other back end counts where kube-proxy's chains are not in the one that was read.
        """
        if nft:
            word = f"nft/{_FAMILIES[family]}/"
            return {name: why for name, why in self.missing.items() if name == "nft" or name.startswith(word)}
        word = self.chosen.get(family, "")
        rules = self.of(family)
        head = "xt6/" if family == 6 else "xt/"
        if rules is not None and has_kube_proxy(rules):
            head = word or head
        return {
            name: why for name, why in self.missing.items() if f"{name}/".startswith(f"{head.rstrip('/')}/")
        }


def is_dump(path: Path) -> bool:
    """Is the file the text of iptables-save or of ``nft list ruleset`` (and not a snapshot)?"""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError:
        return False
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith(b"#")]
    return bool(lines) and lines[0].startswith((b"*", b"table "))


def read_dump(path: Path, family: int) -> NodeRules:
    """
    Read the text of iptables-save, of ip6tables-save for *family* 6, or of ``nft list ruleset``.

    UserError for what is none of them.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"cannot read the dump: {reason}", where=str(path)) from error
    if any(line.startswith("table ") for line in text.splitlines()):
        listed = {one.family: one for one in listed_tables(text) if one.name == "kube-proxy"}
        return NodeRules(tables={number: listed.get(word) for number, word in _FAMILIES.items()})
    rules = parse_save(text, str(path))
    return NodeRules(v6=rules) if family == 6 else NodeRules(v4=rules)


def read_node_rules(context: Context, netns: str) -> NodeRules:
    """Read every chain of the namespace that kube-proxy may have written, and the outline of nftables."""
    missing: dict[str, str] = {}
    found: dict[str, XtRuleset | None] = {}
    words: dict[int, str] = {}
    for family, head in ((4, "xt"), (6, "xt6")):
        context.read_unread([SectionKey(netns, f"{head}/{backend}") for backend in BACKENDS])
        chosen = None
        for backend in BACKENDS:
            rules = _whole(context, netns, f"{head}/{backend}", missing)
            if rules is not None and (
                chosen is None or (has_kube_proxy(rules) and not has_kube_proxy(chosen))
            ):
                chosen, words[family] = rules, f"{head}/{backend}"
        found[head] = chosen
    context.read_unread([SectionKey(netns, "nft")])
    nft = context.snapshot.section(SectionKey(netns, "nft"))
    addresses = _value(context, netns, "addresses", missing)
    tables: dict[int, ExpectedNftTable | None] = {}
    if isinstance(nft, Missing):
        missing["nft"] = nft.reason or nft.kind.value
    else:
        tables = {
            number: _table(context, netns, f"{word} kube-proxy", missing)
            for number, word in _FAMILIES.items()
        }
    return NodeRules(
        v4=found["xt"],
        v6=found["xt6"],
        nft=nft.value if isinstance(nft, Known) else None,
        tables=tables,
        ipsets=_value(context, netns, "ipsets", missing),
        servers=_value(context, netns, "ipvs", missing),
        bound=tuple(one.address for one in addresses if one.device == IPVS_DEVICE)
        if addresses is not None
        else None,
        chosen=words,
        missing=missing,
    )


def _value(context: Context, netns: str, name: str, missing: dict[str, str]) -> Any:
    """Return the value of a section; None, and noted as missing, if it has none."""
    context.read_unread([SectionKey(netns, name)])
    section = context.snapshot.section(SectionKey(netns, name))
    if isinstance(section, Known):
        return section.value
    missing[name] = section.reason or section.kind.value
    return None


def _table(context: Context, netns: str, key: str, missing: dict[str, str]) -> ExpectedNftTable | None:
    """Return one of kube-proxy's native tables, with its rules and elements read."""
    outline = context.snapshot.section(SectionKey(netns, "nft")).value
    context.read_unread([SectionKey(netns, name) for name in sections_of(outline, key)])
    found, unread = found_table(context.snapshot.section(SectionKey(netns, "nft")).value, key)
    missing |= unread
    return found


def _whole(context: Context, netns: str, word: str, missing: dict[str, str]) -> XtRuleset | None:
    """Return a back end's rule set with its chains read; what is not is noted as missing."""
    key = SectionKey(netns, word)
    section = context.snapshot.section(key)
    if not isinstance(section, Known):
        missing[word] = section.reason or section.kind.value
        return None
    tables = [name for name in _TABLES if name in section.value.tables]
    context.read_unread([SectionKey(netns, f"{word}/{table}") for table in tables])
    wanted = []
    for table in tables:
        body = context.snapshot.section(SectionKey(netns, f"{word}/{table}"))
        if not isinstance(body, Known) or body.value is None:
            continue
        wanted += [
            SectionKey(netns, f"{word}/{table}/{name}")
            for name, chain in at_hand(body.value.chains)
            if isinstance(chain, Missing)
            and chain.kind is MissingKind.NOT_READ
            and (name.startswith("KUBE-") or name.isupper())
        ]
    context.read_unread(wanted)
    rules: XtRuleset = context.snapshot.section(key).value
    for table in tables:
        body = rules.tables[table]
        if isinstance(body, Missing):
            missing[f"{word}/{table}"] = body.reason or body.kind.value
            continue
        for name, chain in body.value.chains.items():
            if isinstance(chain, Missing) and chain.kind is not MissingKind.NOT_READ:
                missing[f"{word}/{table}/{name}"] = chain.reason or chain.kind.value
    return rules
