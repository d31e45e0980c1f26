"""
Whole clusters out of network namespaces.

Nothing here touches the namespace nettrace runs in or reaches a real network.
"""
