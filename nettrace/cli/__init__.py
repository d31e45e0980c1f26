"""
The command line over nettrace.app.

Heavy libraries are imported by the command that needs them.
"""
