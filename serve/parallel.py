"""Many rows, on two of the machine's cores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from gevent import get_hub

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from stages.shared.servable import Servable

PARALLEL = 2_000  # rows from which on a second thread is worth it


def scored(model: Servable, columns: Sequence[Any]) -> NDArray[np.float64]:
    """The probability of each row; of many rows, half of them on a thread of their own.

    ONNX Runtime could start threads too, but then adds the trees in another order.
    """
    inputs = model.inputs(columns)
    if len(inputs) < PARALLEL:
        return model.score(inputs)
    half = len(inputs) // 2
    first = get_hub().threadpool.spawn(model.score, inputs[:half])
    second = model.score(inputs[half:])
    return np.concatenate([first.get(), second])
