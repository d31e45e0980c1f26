"""
Reading the node: netlink, iptables, /proc, namespaces into model sections.

Reads only.  A section that cannot be read is Missing with its reason, never empty.
Not here: deciding what to read (the walk asks, nettrace.app reads).
"""
