"""
What a node is owed, as the tools print it that show it on the node.

Lives here: the tools' texts one after the other, whose lines are never wrapped, so that they can be
read back, kube-proxy's first; and how a node departs from them.
Not here: nft's and ipset's text (nft_table, ipvs_text), ipvsadm's (nettrace.parse.ipvs).
"""

from collections.abc import Iterator, Sequence

from nettrace.diagnose.shares import fraction_text
from nettrace.parse.ipvs import save_ipvsadm
from nettrace.render.contract_expect import (
    DepartureView,
    ExpectDiffDocument,
    ExpectedChainView,
    ExpectedDocument,
    OwedView,
    OwingView,
)
from nettrace.render.ipvs_text import device_text, ipset_text
from nettrace.render.nft_table import nft_tables_text
from nettrace.render.owed_text import IPTABLES
from nettrace.render.page import Line, Look, Page, Span, Style, line, wrapped

__all__ = ["diff_page", "expected_page"]

_INDENT = 10


def expected_page(document: ExpectedDocument, look: Look) -> Page:
    """
    Lay out what each tool would print: iptables-save, nft, ipvsadm-save, ipset save, ip, bridge.

    Where there are several, a comment before each names whose it is and the tool; what an entry is for
    stands behind it, as a comment too.  Text of kube-proxy's in iptables or nftables mode stands alone as
    the tool prints it.
    """
    parts = [*_kube_proxy(document)]
    alone = len(parts) == 1 and not document.systems
    lines = [] if alone or not parts else [f"# {parts[0][0]}"]
    lines += parts[0][1] if parts else []
    for title, text in parts[1:]:
        lines += [f"# {title}", *text]
    for system in document.systems:
        lines += _system(system)
    return tuple(map(_kept, lines))


def _kube_proxy(document: ExpectedDocument) -> Iterator[tuple[str, list[str]]]:
    """Yield (tool, its lines)."""
    six, who = document.family == 6, "kube-proxy, " if document.systems else ""
    rules = [*_iptables(document.chains)]
    tables = nft_tables_text(document.nft).splitlines()
    if rules or not (document.mode == "" or tables):
        yield f"{who}{'ip6tables' if six else 'iptables'}-save", rules
    if tables:
        yield f"{who}nft list ruleset", tables
    if document.ipvs is not None:
        ipvs = document.ipvs
        yield f"{who}ipvsadm-save -n", save_ipvsadm(ipvs.servers).splitlines()
        yield f"{who}ipset save", ipset_text(ipvs.ipsets).splitlines()
        yield f"{who}ip -o addr show dev {ipvs.device}", device_text(ipvs).splitlines()


def _system(system: OwingView) -> Iterator[str]:
    """Yield what one system owes, tool by tool; a comment where it is nothing that can be told."""
    name = f"{system.name} ({system.mode})" if system.mode else system.name
    if not system.owed:
        yield f"# {name}: {system.unknown or 'it owes nothing here that can be worked out'}"
        return
    if system.unknown:
        yield f"# {name}: {system.unknown}"
    for tool in dict.fromkeys(item.tool for item in system.owed):
        items = [item for item in system.owed if item.tool == tool]
        yield f"# {name}, {tool}"
        if tool == IPTABLES:
            yield from _tables(items)
            continue
        for item in items:
            words = f"  # {item.about}" if item.about else ""
            yield from (f"{text}{words if not number else ''}" for number, text in enumerate(item.lines))


def _tables(items: Sequence[OwedView]) -> Iterator[str]:
    """Yield rules for ``iptables-restore --noflush``: chains that are the system's whole are made anew."""
    for table in dict.fromkeys(item.table for item in items):
        mine = [item for item in items if item.table == table]
        yield f"*{table}"
        for chain in dict.fromkeys(item.chain for item in mine if item.whole):
            yield f":{chain} - [0:0]"
        for item in mine:
            yield from item.lines
        yield "COMMIT"


def _kept(text: str) -> Line:
    """Return a line with the tabs that nft indents by, which are made visible elsewhere."""
    bare = text.lstrip("\t")
    return (Span("\t" * (len(text) - len(bare))), *line(bare))


def _iptables(chains: tuple[ExpectedChainView, ...]) -> Iterator[str]:
    for table in dict.fromkeys(chain.table for chain in chains):
        mine = [chain for chain in chains if chain.table == table]
        yield f"*{table}"
        for chain in mine:
            yield f":{chain.chain} {chain.policy or '-'} [0:0]"
        for chain in mine:
            yield from (f"-A {chain.chain} {rule}" for rule in chain.rules)
        yield "COMMIT"


def diff_page(document: ExpectDiffDocument, look: Look) -> Page:
    """Lay the differences out: what it is called, where, what is there and what is owed, what it means."""
    lines: list[Line] = [line(Span(document.node, Style.NAME), f": {_compared(document)}: ", _sum(document))]
    for found in document.differences:
        lines.append(())
        lines.extend(_departure(found, look))
    if document.missing:
        lines.append(())
    for missing in document.missing:
        place = "/".join(part for part in (missing.netns, missing.section) if part)
        lines.append(line(Span(f"? {place}: not known: {missing.reason}", Style.UNSURE)))
    return tuple(lines)


def _compared(document: ExpectDiffDocument) -> str:
    """Say whose part was compared."""
    proxy = [f"{document.mode}, kube-proxy {document.version}"] if document.mode else []
    systems = [f"{one.name} ({one.mode})" if one.mode else one.name for one in document.systems]
    return "; ".join([*proxy, ", ".join(systems)] if systems else proxy)


def _sum(document: ExpectDiffDocument) -> Span:
    number = len(document.differences)
    if number:
        return Span("1 difference" if number == 1 else f"{number} differences", Style.BAD)
    if document.missing:
        return Span("no difference in what could be read", Style.UNSURE)
    return Span("as it is owed", Style.GOOD)


def _departure(found: DepartureView, look: Look) -> Iterator[Line]:
    words = found.kind.replace("-", " ")
    place = " ".join(part for part in (found.table, found.chain) if part)
    if found.position is not None:
        place = f"{place}, rule {found.position}"
    head: list[str | Span] = [Span(look.cross, Style.BAD), f" {words}  ", Span(found.cause, Style.HEAD)]
    head += [f"  {part}" for part in ("IPv6" if found.family == 6 else "", place, found.subject) if part]
    yield line(*head)
    for title, text in (("there", found.found), ("owed", found.owed)):
        if text is not None:
            yield line(f"  {title:<{_INDENT - 2}}", Span(text, Style.CODE))
    for number, piece in enumerate(wrapped(found.meaning, look.width - _INDENT)):
        yield line(f"  {'meaning' if not number else '':<{_INDENT - 2}}", piece)
    if found.source is not None:
        yield line(f"  {'source':<{_INDENT - 2}}", f"{found.owner}: {found.source}")
    for title, commands in (("repair", found.commands), ("undo", found.undo)):
        for number, text in enumerate(commands):
            yield line(f"  {title if not number else '':<{_INDENT - 2}}", Span(text, Style.CODE))
    for number, share in enumerate(found.shares):
        told = f"{share.endpoint}  {fraction_text(share.found)}, owed {fraction_text(share.owed)}"
        yield line(f"  {'shares' if not number else '':<{_INDENT - 2}}", told)
    if found.unmatched:
        yield line(" " * _INDENT, f"no endpoint  {fraction_text(found.unmatched)}")
