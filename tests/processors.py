"""Other processors, as far as this one can play them: what numpy, BLAS, libc and Arrow may use.

Each of these chooses its code when it is loaded, by what the processor can do, and lets the
environment take some of that away. What is left is what an older processor would run.
"""

from __future__ import annotations

import platform

from numpy._core import _multiarray_umath as umath  # type: ignore[attr-defined]

ALL_OF_NUMPY = " ".join(umath.__cpu_dispatch__)
NEWEST_OF_NUMPY = " ".join(n for n in umath.__cpu_dispatch__ if n.startswith(("X86_V4", "AVX512")))
# Two spellings: the C library changed them.
WITHOUT_FMA = "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F,-AVX2_Usable,-FMA_Usable"


def _threads(count: int) -> dict[str, str]:
    return {"OMP_NUM_THREADS": str(count), "OPENBLAS_NUM_THREADS": str(count)}


def all_of_them() -> dict[str, dict[str, str]]:
    """The environment of each, by a name; of other makes than x86-64 the threads alone."""
    found = {
        "this one": {},
        "one thread": _threads(1) | {"PYTHONHASHSEED": "1"},
        "three threads": _threads(3) | {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo"},
    }
    if platform.machine() not in {"x86_64", "AMD64"}:
        return found
    has = umath.__cpu_features__
    found["of 2008"] = _threads(1) | {
        "NPY_DISABLE_CPU_FEATURES": ALL_OF_NUMPY,
        "OPENBLAS_CORETYPE": "Nehalem",
        "GLIBC_TUNABLES": WITHOUT_FMA,
        "ARROW_USER_SIMD_LEVEL": "NONE",
    }
    if has["AVX2"]:
        found["of 2013"] = _threads(2) | {
            "NPY_DISABLE_CPU_FEATURES": NEWEST_OF_NUMPY,
            "OPENBLAS_CORETYPE": "Haswell",
            "ARROW_USER_SIMD_LEVEL": "AVX2",
        }
        found["of another make"] = _threads(2) | {"OPENBLAS_CORETYPE": "Zen"}
    if has["AVX512_SKX"]:
        found["of 2017"] = _threads(1) | {"OPENBLAS_CORETYPE": "SkylakeX"}
    return found


# Those between which most differs, where there is no time for all.
FEW = [name for name in ("this one", "of 2008", "of 2013") if name in all_of_them()]
