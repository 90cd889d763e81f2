"""One split for all time: a customer is in the holdout, or never."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

METHOD = "siphash-2-4(utf8(id), key=first 16 hex digits of sha256(salt)) < share * 2**64"


def definition(salt: str, share: float) -> dict[str, Any]:
    """The split in words that travel with each model: two models with equal ones compare."""
    return {"method": METHOD, "salt": salt, "holdout_share": share}


def in_holdout(ids: Sequence[str] | NDArray[Any], salt: str, share: float) -> NDArray[np.bool_]:
    """Which customers are in the holdout.

    Args:
        ids: shape (n,), texts as written in the snapshots.
        salt: another salt draws another holdout.
        share: expected share of the holdout, between 0 and 1.

    Returns:
        Shape (n,); depends on each id alone, so it is the same in every month.
    """
    from pandas.util import hash_array  # SipHash-2-4 in C: a million ids in a third of a second

    key = hashlib.sha256(salt.encode()).hexdigest()[:16]
    values = np.asarray(ids, dtype=object)
    hashes: NDArray[np.uint64] = hash_array(values, hash_key=key, categorize=False)
    return hashes < np.uint64(min(int(share * 2**64), 2**64 - 1))
