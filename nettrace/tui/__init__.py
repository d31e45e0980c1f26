"""
The terminal application: the same answers as the command line, to be walked through.

Lives here: what is on the screen and which key does what.  All work is nettrace.app's; words and
lines are nettrace.render's.  Nothing here reads state by itself.
textual is imported by ``nettrace.tui.app`` and the widgets only, and those by nobody but the
command that opens the application.
"""
