"""
The interface for plugins: hook specifications and the types they use.

Pure.  A plugin teaches nettrace one network system: detect, name, owes, causes, topology, transit.
Not here: loading plugins (nettrace.app.plugins).
"""
