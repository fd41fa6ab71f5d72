"""A small Triton kernel compiled for a GPU that need not be here: it proves Triton, its assembler and its cache."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fourcast.doctor.disk import writable
from fourcast.doctor.finding import OK, Finding

NAME = "triton compiler"
CAPABILITY = 90
SIDE = 16


@triton.jit
def product(p_a, p_b, p_c, SIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """c = a b of square fp16 matrices, on tensor cores."""
    o_row, o_column = tl.arange(0, SIDE)[:, None], tl.arange(0, SIDE)[None, :]
    offsets = o_row * SIDE + o_column
    tl.store(p_c + offsets, tl.dot(tl.load(p_a + offsets), tl.load(p_b + offsets)).to(tl.float16))


def compiled(cache: str | None, otherwise: str) -> list[dict[str, Any]]:
    """Compile it to machine code, or take it from ``cache``; into ``otherwise`` where that cannot be written."""
    usable = cache is not None and writable("", Path(cache), "").status == OK
    os.environ["TRITON_CACHE_DIR"] = cache if cache is not None and usable else otherwise
    began = time.perf_counter()
    signature = {"p_a": "*fp16", "p_b": "*fp16", "p_c": "*fp16", "SIDE": "constexpr"}
    source = ASTSource(product, signature, {(3,): SIDE})
    code = triton.compile(source, target=GPUTarget("cuda", CAPABILITY, 32)).asm["cubin"]
    seconds = time.perf_counter() - began
    assert code[:4] == b"\x7fELF", "no machine code"
    words = f"a kernel for compute {CAPABILITY / 10} in {seconds:.1f} s"
    return [asdict(Finding(NAME, OK, words, "", {"seconds": round(seconds, 2)}))]
