"""
The endpoints of a Service side by side: the API's word, the kernel's deed, and whether they are reached.

Lives here: lines.  Not here: what stands in them (nettrace.app.endpoints).
"""

from collections.abc import Sequence

from nettrace.app.endpoints import EndpointRow, PortRows
from nettrace.diagnose.shares import fraction_text
from nettrace.model.walk import Outcome
from nettrace.render.packet_text import end
from nettrace.render.page import Look, Span, Style, columns, line, wrapped
from nettrace.tui.entries import Entry, Listed

__all__ = ["endpoint_list"]


def endpoint_list(ports: Sequence[PortRows], look: Look, *, probe: str, back: str) -> Listed:
    """
    Return the ports of a Service, each with a line an endpoint; what does not agree is a problem.

    *probe* is the key that connects to them, "" where nothing can be; *back* the key that goes back.
    """
    entries: list[Entry] = []
    for port in ports:
        if entries:
            entries.append(Entry(()))
        entries.append(Entry(line(Span(port.target, Style.HEAD))))
        entries.append(Entry(line("  called from ", Span(port.client, Style.NAME))))
        if port.rows:
            titles = [Span(name, Style.HEAD) for name in ("ENDPOINT", "API", "KERNEL", "REACHED", "POD")]
            lines = columns([titles, *(_cells(row, look) for row in port.rows)])
            entries.append(Entry(lines[0]))
            entries.extend(
                Entry(one, key=row, problem=not row.agrees)
                for one, row in zip(lines[1:], port.rows, strict=True)
            )
        else:
            entries.append(
                Entry(
                    line(Span("no endpoints, and the kernel sends nothing anywhere", Style.WARN)),
                    problem=True,
                )
            )
        said = []
        if port.unread:
            said.append((f"? API: {port.unread}", Style.UNSURE))
        if port.unknown:
            said.append((f"? kernel: {port.unknown}", Style.UNSURE))
        if port.lost:
            said.append(
                (
                    f"{look.cross} {fraction_text(port.lost)} of what comes is sent to nobody: {port.why}",
                    Style.BAD,
                )
            )
        for words, style in said:
            for number, piece in enumerate(wrapped(words, look.width - 2)):
                entries.append(Entry(line(Span(("  " if number else "") + piece, style)), problem=not number))
    told = f"{probe} connects to each of them" if probe else "a snapshot file: nothing can be connected to"
    entries.extend((Entry(()), Entry(line(Span(f"{told}; {back} goes back", Style.DIM)))))
    return Listed(entries)


def _cells(row: EndpointRow, look: Look) -> list[str | Span]:
    said = row.said or "in no slice"
    if row.share is None:
        kernel = Span("? unknown", Style.UNSURE)
    elif row.share > 0:
        amount = "all" if row.share > 1 - 1e-9 else fraction_text(row.share)
        kernel = Span(f"sends {amount}", Style.PLAIN if row.said == "ready" else Style.BAD)
    else:
        kernel = Span("sends nothing", Style.BAD if row.said == "ready" else Style.PLAIN)
    if row.reached is None:
        reached = Span("not tried", Style.DIM)
    elif row.reached is Outcome.CONNECTED:
        reached = Span(f"{look.tick} connected", Style.GOOD)
    else:
        reached = Span(f"{look.cross} {row.reached.value}", Style.BAD)
    api = Span(said, Style.GOOD if row.said == "ready" else Style.WARN)
    return [Span(end(row.address, row.port), Style.NAME), api, kernel, reached, row.pod or ""]
