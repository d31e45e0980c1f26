"""
Probes: real packets, and what became of them.

Injects and watches; leaves nothing behind.
Not here: what was predicted, and whether it agrees (nettrace.align).
"""
