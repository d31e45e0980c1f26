"""Plugins that ship with nettrace, one subpackage a network system."""
