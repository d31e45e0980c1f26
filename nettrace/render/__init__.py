"""
Results to text: tables, JSON, YAML, SVG, shell commands.

Pure: model types in, text out.  One file a format.  Untrusted names are shown as text.
"""
