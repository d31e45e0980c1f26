"""
nettrace: why does this packet not arrive, and what has to change so that it does?

Packages, in the direction of imports (a package imports only from those above it):

    model parse walk kube diagnose align render plugin_api    pure
    collect journal observe apply lab                         I/O
    app                                                       where both meet
    cli tui                                                   front ends

An import contract in pyproject.toml holds this.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
