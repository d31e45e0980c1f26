"""
Changes into the kernel, one command each, and back.

Not here: deciding on changes (nettrace.diagnose), the order of a repair (nettrace.app).
"""
