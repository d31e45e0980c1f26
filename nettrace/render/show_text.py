"""
What ``nettrace show`` prints: one row a thing, no blanks in column titles.

Lives here: the columns of each kind of item.  Routes, rules and entries are written as the
tool that people know writes them (``ip route``, ``iptables-save``, ``conntrack -L``).
"""

from collections.abc import Sequence

from nettrace.model.routes import TABLE_DEFAULT, TABLE_LOCAL, TABLE_MAIN, NextHop, PolicyRule, Route
from nettrace.model.sockets import ConntrackEntry, Tuple
from nettrace.render.bpf_text import frontend_lines, program_lines
from nettrace.render.contract_state import (
    ShowDocument,
    ShowItem,
    ShownChain,
    ShownConntrack,
    ShownFrontend,
    ShownLink,
    ShownMap,
    ShownNativeChain,
    ShownNetns,
    ShownOffloads,
    ShownPolicy,
    ShownPolicyRule,
    ShownProgram,
    ShownRoute,
    ShownService,
    ShownSet,
    ShownSocket,
    ShownSystem,
    ShownVirtualServer,
    ShownXfrmDefault,
    ShownXfrmPolicy,
    ShownXfrmState,
)
from nettrace.render.packet_text import end
from nettrace.render.page import Line, Look, Page, Span, Style, columns, line
from nettrace.render.systems_text import nothing_line, systems_lines

__all__ = ["policy_rule_text", "route_text", "show_page"]

_TABLES = {TABLE_LOCAL: "local", TABLE_MAIN: "main", TABLE_DEFAULT: "default"}

_TITLES = {
    "namespaces": ("NETNS", "NODE", "ROLE", "POD", "DEVICES", "ADDRESSES"),
    "links": ("NETNS", "DEVICE", "KIND", "STATE", "MTU", "MASTER", "PEER", "ADDRESSES"),
    "sets": ("NETNS", "SET", "TYPE", "MEMBERS"),
    "ipvs": ("NETNS", "VIRTUAL-SERVER", "SCHEDULER", "REAL-SERVER", "FORWARDING", "WEIGHT", "CONNECTIONS"),
    "offloads": ("NETNS", "DEVICE", "TX-CHECKSUMS"),
    "xfrm": ("NETNS", "DIRECTION", "PRIORITY", "ABOUT", "ACTION"),
    "services": ("SERVICE", "TYPE", "CLUSTER-IP", "PORTS", "ENDPOINTS"),
    "policies": ("POLICY", "KIND", "ABOUT", "PODS", "RULES"),
    "conntrack": ("NETNS", "PROTO", "STATE", "ORIGINAL", "REPLY", "MARK"),
    "sockets": ("NETNS", "PROTO", "STATE", "LOCAL", "REMOTE", "PROCESS"),
}


def show_page(document: ShowDocument, look: Look) -> Page:
    """Lay the items out, with a line for every section that could not be read."""
    lines: list[Line] = []
    if document.what == "systems":
        found = [item.system for item in document.items if isinstance(item, ShownSystem)]
        lines.extend(systems_lines(found, look) if found else [nothing_line(document.asked)])
    elif document.what in ("routes", "rules"):
        lines.extend(_grouped(document.items, look))
    elif document.what == "programs":
        programs = [item for item in document.items if isinstance(item, ShownProgram | ShownMap)]
        lines.extend(program_lines(programs, look))
    elif document.items:
        kernel = [item for item in document.items if isinstance(item, ShownFrontend)]
        rows = [row for item in document.items for row in _rows(item, look)]
        if rows:
            titles: list[str | Span] = [Span(name, Style.HEAD) for name in _TITLES[document.what]]
            lines.extend(columns([titles, *rows]))
        if kernel:
            lines.extend([(), *frontend_lines(kernel)] if rows else frontend_lines(kernel))
    if not lines and not document.missing:
        lines.append(line(f"no {document.what} here"))
    for missing in document.missing:
        place = "/".join(part for part in (missing.netns, missing.section) if part)
        lines.append(line(Span(f"? {place}: not known: {missing.reason}", Style.UNSURE)))
    return tuple(lines)


def _rows(item: ShowItem, look: Look) -> list[list[str | Span]]:
    match item:
        case ShownNetns():
            devices = str(item.devices) if item.devices is not None else "<unknown>"
            return [_cells(item.netns, item.node, item.role, item.pod, devices, ", ".join(item.addresses))]
        case ShownLink():
            return [_link(item)]
        case ShownSet():
            members = list(item.members) if look.wide else list(item.members[:4])
            more = len(item.members) - len(members)
            shown = ", ".join(members) + (f" and {more} more" if more else "")
            return [_cells(item.netns, item.name, item.type, shown)]
        case ShownVirtualServer():
            return _virtual_server(item)
        case ShownOffloads(netns=netns, offloads=offloads):
            return [_cells(netns, offloads.device, "on" if offloads.tx_checksums else "off")]
        case ShownXfrmPolicy(netns=netns, policy=policy):
            action = ", ".join(str(one) for one in policy.templates) or policy.action
            return [_cells(netns, policy.direction, str(policy.priority), policy.selector, action)]
        case ShownXfrmDefault(netns=netns, direction=direction):
            return [_cells(netns, direction, "default", "what no policy is about", "block")]
        case ShownXfrmState(netns=netns, state=state):
            return [
                _cells(netns, state.direction or "state", None, f"{state.src} -> {state.dst}", str(state))
            ]
        case ShownService():
            return _service(item, look)
        case ShownPolicy():
            return _policy(item, look)
        case ShownConntrack(netns=netns, entry=entry):
            return [
                _cells(
                    netns, entry.proto, entry.state, _tuple(entry.original), _tuple(entry.reply), _mark(entry)
                )
            ]
        case ShownSocket(netns=netns, socket=socket):
            process = f"{socket.process} ({socket.pid})" if socket.process else ""
            remote = end(socket.remote, socket.remote_port) if socket.remote else ""
            local = end(socket.address, socket.port) + (f"%{socket.device}" if socket.device else "")
            return [_cells(netns, socket.proto, socket.state, local, remote, process)]
        case _:
            return []


def _cells(*values: str | None) -> list[str | Span]:
    return [value or Span("<none>", Style.DIM) for value in values]


def _link(item: ShownLink) -> list[str | Span]:
    link = item.link
    state = "up" if link.up and link.carrier else "no-carrier" if link.up else "down"
    peer = ""
    if link.peer is not None:
        peer = f"{link.peer.netns or '<outside>'}#{link.peer.ifindex}"
    elif link.vxlan is not None:
        peer = f"vni {link.vxlan.vni} port {link.vxlan.port}"
    elif link.ipip is not None:
        peer = f"remote {link.ipip.remote or 'any'} local {link.ipip.local or 'any'}"
    addresses = ", ".join(f"{address.address}/{address.prefixlen}" for address in item.addresses)
    style = Style.PLAIN if state == "up" else Style.WARN
    cells = _cells(item.netns, link.name, link.kind, None, str(link.mtu), link.master, peer, addresses)
    cells[3] = Span(state, style)
    return cells


def _virtual_server(item: ShownVirtualServer) -> list[list[str | Span]]:
    """One row a real server, as ``ipvsadm -Ln`` shows them."""
    server = item.server
    name = (
        f"fwmark {server.fwmark}" if server.fwmark else f"{server.proto} {end(server.address, server.port)}"
    )
    how = server.scheduler
    if server.persistent is not None:
        how += f" persistent {server.persistent}"
        how += f"/{server.netmask}" if server.netmask is not None else ""
    how += "".join(f" {flag}" for flag in server.flags)
    rows: list[list[str | Span]] = []
    for real in server.real_servers:
        counts = f"{real.active} active, {real.inactive} inactive"
        row = _cells(item.netns, name, how, end(real.address, real.port), real.forwarding, None, counts)
        row[5] = Span(str(real.weight), Style.PLAIN if real.weight else Style.WARN)
        rows.append(row)
    return rows or [_cells(item.netns, name, how, None, None, None, None)]


def _service(item: ShownService, look: Look) -> list[list[str | Span]]:
    """One row a port: what it is reached by, and by whom it is answered."""
    service = item.service
    address = ", ".join(service.cluster_ips) or ("None" if service.headless else service.external_name)
    rows: list[list[str | Span]] = []
    for port in service.ports:
        node_port = f":{port.node_port}" if port.node_port else ""
        answered = [
            (endpoint.ready, end(endpoint.addresses[0], slice_port.port))
            for piece in item.slices
            for slice_port in piece.ports
            if slice_port.name == port.name
            for endpoint in piece.endpoints
            if endpoint.addresses
        ]
        ready = [text for is_ready, text in answered if is_ready]
        shown = ready if look.wide else ready[:3]
        words = ", ".join(shown) + (f" and {len(ready) - len(shown)} more" if len(shown) < len(ready) else "")
        if len(answered) > len(ready):
            words += f" ({len(answered) - len(ready)} not ready)"
        name = service.key if not rows else ""
        told = _cells(
            name or " ", service.type, address, f"{port.port}{node_port}/{port.protocol}", words.strip()
        )
        rows.append(told)
    return rows or [_cells(service.key, service.type, address, None, None)]


_POLICY_KINDS = {"NetworkPolicy": "policy", "AdminNetworkPolicy": "admin"}


def _policy(item: ShownPolicy, look: Look) -> list[list[str | Span]]:
    """One row a rule; a direction that is isolated and has no rule lets nothing pass."""
    lines = []
    for direction, rules in (("ingress", item.ingress), ("egress", item.egress)):
        if rules is None or (not rules and item.type != "NetworkPolicy"):
            continue
        lines += [f"{direction}: {text}" for text in rules] or [f"{direction}: nothing is allowed"]
    pods = list(item.pods if look.wide else item.pods[:2])
    shown = ", ".join(pods) + (
        f" and {len(item.pods) - len(pods)} more" if len(pods) < len(item.pods) else ""
    )
    if item.undecided:
        shown = f"{shown} ({len(item.undecided)} not to be told)".strip()
    kind = _POLICY_KINDS.get(item.type, "baseline") + (f" {item.order}" if item.order.isdecimal() else "")
    name = f"{item.namespace}/{item.name}" if item.namespace else item.name
    head = _cells(name, kind, item.selector, shown or "none", lines[0] if lines else None)
    return [head, *(_cells(" ", " ", " ", " ", text) for text in lines[1:])]


def _tuple(one: Tuple) -> str:
    if one.icmp_type is not None:
        return f"{one.src} -> {one.dst} type {one.icmp_type} id {one.icmp_id}"
    return f"{end(one.src, one.sport)} -> {end(one.dst, one.dport)}"


def _mark(entry: ConntrackEntry) -> str:
    return f"{entry.mark:#x}" if entry.mark else "0"


# --- routes and rules --------------------------------------------------------------------


def _grouped(items: Sequence[ShowItem], look: Look) -> list[Line]:
    """List routes and rules as text under the name of their namespace."""
    lines: list[Line] = []
    before = ""
    table: tuple[int | str, str, str] = (0, "", "")
    for item in items:
        if not isinstance(item, ShownPolicyRule | ShownRoute | ShownChain | ShownNativeChain):
            continue
        if item.netns != before:
            if lines:
                lines.append(())
            lines.append(line(Span(item.netns, Style.NAME)))
            before, table = item.netns, (0, "", "")
        if isinstance(item, ShownPolicyRule):
            name = "rule" if item.rule.family == 4 else "rule -6"
            lines.append(line(f"  {name:9}", Span(policy_rule_text(item.rule), Style.CODE)))
        elif isinstance(item, ShownRoute):
            if item.route.table != TABLE_LOCAL or look.wide:
                lines.append(line("  route    ", Span(route_text(item.route), Style.CODE)))
        elif isinstance(item, ShownNativeChain):
            if ("nft", item.family, item.table) != table:
                table = ("nft", item.family, item.table)
                lines.append(line("  ", Span(f"table {item.family} {item.table}", Style.HEAD), "  nft"))
            lines.extend(_native_chain(item))
        else:
            if (item.family, item.backend, item.table) != table:
                table = (item.family, item.backend, item.table)
                command = "ip6tables" if item.family == 6 else "iptables"
                lines.append(line("  ", Span(f"*{item.table}", Style.HEAD), f"  {command}-{item.backend}"))
            lines.extend(_chain(item))
    return lines


def _native_chain(item: ShownNativeChain) -> list[Line]:
    words = "-"
    if item.base is not None:
        at = f" device {', '.join(item.base.devices)}" if item.base.devices else ""
        where = f"{item.base.type} hook {item.base.hook}{at}"
        words = f"{where} priority {item.base.priority}, policy {item.base.policy}"
    lines = [line("    ", Span(item.chain, Style.NAME), f"  {words}")]
    for index, (rule, packets) in enumerate(zip(item.rules, item.packets, strict=True)):
        count = f"[{packets}] " if packets is not None else ""
        lines.append(line(f"    {index + 1:>4}  ", Span(count, Style.DIM), Span(rule, Style.CODE)))
    return lines


def _chain(item: ShownChain) -> list[Line]:
    policy = f"policy {item.policy}" if item.policy else "-"
    lines = [line("    ", Span(item.chain, Style.NAME), f"  {policy}")]
    for index, rule in enumerate(item.rules):
        count = f"[{item.packets[index]}] " if item.packets is not None else ""
        lines.append(line(f"    {index + 1:>4}  ", Span(count, Style.DIM), Span(rule, Style.CODE)))
    return lines


def route_text(route: Route) -> str:
    """Write a route as ``ip route show table all`` does, so far as the model keeps it."""
    words = [] if route.type == "unicast" else [route.type]
    words.append("default" if route.dst in ("0.0.0.0/0", "::/0") else route.dst)
    if len(route.nexthops) == 1:
        words.extend(_nexthop(route.nexthops[0]))
    if route.table != TABLE_MAIN:
        words.extend(("table", _TABLES.get(route.table, str(route.table))))
    words.extend(("proto", route.protocol))
    if route.scope != "global":
        words.extend(("scope", route.scope))
    if route.prefsrc:
        words.extend(("src", route.prefsrc))
    if route.metric:
        words.extend(("metric", str(route.metric)))
    if route.mtu:
        words.extend(("mtu", str(route.mtu)))
    words.extend(route.more)
    if len(route.nexthops) > 1:
        for hop in route.nexthops:
            words.extend(("nexthop", *_nexthop(hop), "weight", str(hop.weight)))
    return " ".join(words)


def _nexthop(hop: NextHop) -> list[str]:
    words = ["via", hop.via] if hop.via else []
    if hop.device:
        words.extend(("dev", hop.device))
    return words + ["onlink"] * hop.onlink + ["dead"] * hop.dead


def policy_rule_text(rule: PolicyRule) -> str:
    """Write a policy rule as ``ip rule`` does."""
    words = [f"{rule.priority}:"] + ["not"] * rule.invert + ["from", rule.src or "all"]
    if rule.dst:
        words.extend(("to", rule.dst))
    if rule.fwmark is not None:
        mask = f"/{rule.fwmask:#x}" if rule.fwmask != 0xFFFFFFFF else ""
        words.extend(("fwmark", f"{rule.fwmark:#x}{mask}"))
    for name, value in (("iif", rule.iif), ("oif", rule.oif), ("ipproto", rule.ipproto)):
        if value:
            words.extend((name, value))
    for name, ports in (("sport", rule.sport), ("dport", rule.dport)):
        if ports:
            words.extend((name, "-".join(str(port) for port in dict.fromkeys(ports))))
    words.extend(rule.unknown)
    if rule.action == "lookup" and rule.table is not None:
        words.extend(("lookup", _TABLES.get(rule.table, str(rule.table))))
    elif rule.action == "goto":
        words.extend(("goto", str(rule.goto)))
    else:
        words.append(rule.action)
    if rule.suppress_prefixlen is not None:
        words.extend(("suppress_prefixlength", str(rule.suppress_prefixlen)))
    return " ".join(words)
