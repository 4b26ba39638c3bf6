"""Machine operations that Numba does not offer as Python arithmetic.

Fused multiply-add, square root and rounding are LLVM intrinsics with correctly rounded results, so their bits do not
depend on the processor. Compiled functions use these, without fast-math and without a mathematics library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np import arrayobj

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


def _six_rows(context: Any, builder: Any, signature: Any, values: Any, *, width: int, is_added: bool) -> None:
    """Code of the two functions below: vectors of 16, which LLVM splits where the processor has shorter ones."""
    _, starts, weights, _, at = values[:5]
    kind = ir.VectorType(ir.FloatType(), 16)
    number = ir.IntType(32)
    declared = ir.FunctionType(kind, [kind] * 3)
    fused = cgutils.get_or_insert_function(builder.module, declared, "llvm.fma.v16f32")

    def data(index: int) -> Any:
        return arrayobj.make_array(signature.args[index])(context, builder, values[index]).data

    def splat(value: Any) -> Any:
        nothing = ir.Constant(kind, ir.Undefined)
        first = builder.insert_element(nothing, value, number(0))
        return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(number, 16), [0] * 16))

    def place(array: Any, start: Any, column: int) -> Any:
        index = builder.add(start, ir.IntType(64)(column))
        return builder.bitcast(builder.gep(array, [index]), kind.as_pointer())

    numbers, out = data(0), data(3)
    rows = [builder.extract_value(starts, row) for row in range(6)]
    factors = [splat(builder.extract_value(weights, row)) for row in range(6)]
    factor = splat(values[5]) if is_added else None
    for column in range(0, width, 16):
        read = [builder.load(place(numbers, start, column), align=4) for start in rows]
        total = builder.fmul(factors[0], read[0])
        for weight, row in zip(factors[1:], read[1:], strict=True):
            total = builder.call(fused, [weight, row, total])
        where = place(out, at, column)
        if is_added:
            total = builder.call(fused, [factor, total, builder.load(where, align=4)])
        builder.store(total, where, align=4)


@intrinsic
def weigh_rows_64(typingctx: Any, source: Any, starts: Any, weights: Any, target: Any, at: Any) -> Any:
    """Fill 64 numbers of ``target`` from ``at`` on with the weighted sum of six rows of ``source``.

    ``target[at + j]`` becomes ``w0 * r0[j]``, to which ``w1 * r1[j]`` to ``w5 * r5[j]`` are added by fused
    multiply-adds. The arrays are contiguous float32; ``starts`` (int64) and ``weights`` (float32) are tuples of six.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _six_rows(context, builder, signature, values, width=64, is_added=False)
        return context.get_dummy_value()

    return types.none(source, starts, weights, target, at), codegen


@intrinsic
def add_rows_64(typingctx: Any, source: Any, starts: Any, weights: Any, target: Any, at: Any, factor: Any) -> Any:
    """Add the weighted sum of :func:`weigh_rows_64` times a factor to the numbers of ``target``, fused."""

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _six_rows(context, builder, signature, values, width=64, is_added=True)
        return context.get_dummy_value()

    return types.none(source, starts, weights, target, at, factor), codegen
