"""The main job, run as a user runs it: the command line, real labs, real connections."""
