"""
Reading the node: netlink, iptables, /proc, namespaces into model sections.

Reads only: no table, chain or module comes into being by looking.  A section that cannot be
read is Missing with its reason, never empty.
Not here: deciding what to read (the walk asks, nettrace.app reads).

discover, glimpse, roles    which namespaces there are, and what for
reader, batch               a snapshot's skeleton, and its sections in parallel over namespaces
netns                       threads that live in a namespace; in_netns() for a single call
session, wire, peers        the open netlink sockets of a namespace, and what goes over them
links, neighbours, routes, programs, sysctls, sockets, conntrack, ipsets, ipvs
                            one section each
bpf, bpf_state, cgroups     what bpf(2) tells, of a node, and of the sockets of processes
nf_tables, xt, nft          rule sets: the kernel's list of chains, iptables' text, native base chains
workloads, docker_api       which pods and containers live in namespaces, and their names
node, processes, kube       files and processes of a node, Kubernetes objects
failure, modules, tools     how reading fails; what may be asked; running the system's tools
"""
