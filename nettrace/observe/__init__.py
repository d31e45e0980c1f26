"""
Probes: real packets, and what became of them.

Injects and watches; leaves nothing behind.
"""
