"""
The nouns: frozen, serialisable types without behaviour beyond looking at themselves.

Pure: no I/O, no clock, no randomness, and nothing from any other package of nettrace.
One file a subject: packet, flow, links, routes, sockets, xt (iptables) with xt_match and xt_target,
ipset, kube, section (Known and Missing), snapshot, step, walk, owed, change, finding, errors.
"""
