"""
The version of the contract.

Raised when a reader of the old one would misread the new one; fields may be added without.
"""

from typing import Final, Literal, TypeAlias

__all__ = ["API_VERSION", "ApiVersion"]

API_VERSION: Final = "nettrace/v1"

ApiVersion: TypeAlias = Literal["nettrace/v1"]
