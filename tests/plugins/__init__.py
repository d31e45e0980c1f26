"""Plugins: what they know, and how they are loaded."""
