"""
What kube-proxy owes a node, as the tools print it that show it on the node.

Lives here: the tools' texts one after the other, whose lines are never wrapped, so that they can be
read back; and how a node departs from them.
Not here: nft's and ipset's text (nft_table, ipvs_text), ipvsadm's (nettrace.parse.ipvs).
"""

from collections.abc import Iterator

from nettrace.diagnose.shares import fraction_text
from nettrace.parse.ipvs import save_ipvsadm
from nettrace.render.contract_expect import (
    DepartureView,
    ExpectDiffDocument,
    ExpectedChainView,
    ExpectedDocument,
)
from nettrace.render.ipvs_text import device_text, ipset_text
from nettrace.render.nft_table import nft_tables_text
from nettrace.render.page import Line, Look, Page, Span, Style, line, wrapped

__all__ = ["diff_page", "expected_page"]

_INDENT = 10


def expected_page(document: ExpectedDocument, look: Look) -> Page:
    """
    Lay out what each tool would print: iptables-save, nft, ipvsadm-save, ipset save, ip addr.

    In ipvs mode, which has several, a comment before each names the tool.
    """
    lines = [*_iptables(document.chains), *nft_tables_text(document.nft).splitlines()]
    if document.ipvs is not None:
        ipvs, six = document.ipvs, document.family == 6
        lines = [
            f"# {'ip6tables' if six else 'iptables'}-save",
            *lines,
            "# ipvsadm-save -n",
            *save_ipvsadm(ipvs.servers).splitlines(),
            "# ipset save",
            *ipset_text(ipvs.ipsets).splitlines(),
            f"# ip -o addr show dev {ipvs.device}",
            *device_text(ipvs).splitlines(),
        ]
    return tuple(map(_kept, lines))


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
    lines: list[Line] = [
        line(
            Span(document.node, Style.NAME),
            f": {document.mode}, kube-proxy {document.version}: ",
            _sum(document),
        )
    ]
    for found in document.differences:
        lines.append(())
        lines.extend(_departure(found, look))
    if document.missing:
        lines.append(())
    for missing in document.missing:
        place = "/".join(part for part in (missing.netns, missing.section) if part)
        lines.append(line(Span(f"? {place}: not known: {missing.reason}", Style.UNSURE)))
    return tuple(lines)


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
    for number, share in enumerate(found.shares):
        told = f"{share.endpoint}  {fraction_text(share.found)}, owed {fraction_text(share.owed)}"
        yield line(f"  {'shares' if not number else '':<{_INDENT - 2}}", told)
    if found.unmatched:
        yield line(" " * _INDENT, f"no endpoint  {fraction_text(found.unmatched)}")
