"""
The use cases: the only place where I/O meets the pure core.

collect - walk - collect - walk; diagnose; plan - apply - re-walk - re-probe.
"""
