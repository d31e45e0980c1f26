"""
The command line over nettrace.app.

One file a command group; what they share is in group (finding commands, errors), options
(where state comes from), sink (formats and files), codes (exit codes).
Heavy libraries are imported by the command that needs them, inside its function.
"""
