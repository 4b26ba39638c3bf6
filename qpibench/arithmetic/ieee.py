"""Machine operations that Numba does not offer as Python arithmetic.

Fused multiply-add, square root and rounding are LLVM intrinsics with correctly rounded results, so their bits do not
depend on the processor. Compiled functions use these, without fast-math and without a mathematics library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_IR_TYPE = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


def _llvm_intrinsic(name: str, arity: int) -> Callable[..., Any]:
    """An LLVM intrinsic for float32 and float64 as a Numba function; all arguments have the type of the first."""

    def typed(*args: Any) -> Any:
        number = args[0]
        if number not in _IR_TYPE or any(arg != number for arg in args):
            return None

        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            kind = _IR_TYPE[number]
            function = builder.module.declare_intrinsic(name, [kind], ir.FunctionType(kind, [kind] * arity))
            return builder.call(function, values)

        return number(*args), codegen

    def one(typingctx: Any, a: Any) -> Any:
        return typed(a)

    def three(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
        return typed(a, b, c)

    return intrinsic(one if arity == 1 else three)


fma = _llvm_intrinsic("llvm.fma", 3)
"""``fma(a, b, c)``: a b + c, rounded once; all three float32 or all three float64."""

sqrt = _llvm_intrinsic("llvm.sqrt", 1)
"""``sqrt(a)``, correctly rounded, in the type of a."""

rint = _llvm_intrinsic("llvm.rint", 1)
"""``rint(a)``: the nearest integer, ties to even, in the type of a."""


def _bitcast(source: Any, target: Any, target_ir: Any) -> Callable[..., Any]:
    def cast(typingctx: Any, a: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.bitcast(values[0], target_ir)

        return target(source), codegen

    return intrinsic(cast)


bits_of_f32 = _bitcast(types.float32, types.int32, ir.IntType(32))
"""The 32 bits of a float32 as an int32."""

f32_of_bits = _bitcast(types.int32, types.float32, ir.FloatType())
"""The float32 with these 32 bits."""

bits_of_f64 = _bitcast(types.float64, types.int64, ir.IntType(64))
"""The 64 bits of a float64 as an int64."""

f64_of_bits = _bitcast(types.int64, types.float64, ir.DoubleType())
"""The float64 with these 64 bits."""


@intrinsic
def prefer_wide_vectors(typingctx: Any) -> Any:
    """Request 512-bit vectors for the calling function, where the processor has them.

    LLVM prefers 256 bits on many processors. With this much arithmetic per element, 512 bits are faster. The results
    have the same bits.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        # llvmlite's own add() accepts only attributes without a value.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), codegen
