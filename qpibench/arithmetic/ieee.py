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


LANES = 16
"""Numbers of the vectors below, which LLVM splits where the processor has shorter ones."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)


class _Code:
    """Code of vectors of the two kinds of functions below."""

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
        self.context, self.builder, self.signature, self.values = context, builder, signature, values
        declared = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        self._fma = cgutils.get_or_insert_function(builder.module, declared, f"llvm.fma.v{LANES}f32")

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return self.builder.call(self._fma, [a, b, c])

    def splat(self, value: Any) -> Any:
        number = ir.IntType(32)
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        first = self.builder.insert_element(nothing, value, number(0))
        return self.builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(number, LANES), [0] * LANES))

    def pointer(self, argument: int) -> Any:
        """Where the numbers of an argument, an array, begin."""
        array = arrayobj.make_array(self.signature.args[argument])
        return array(self.context, self.builder, self.values[argument]).data

    def opaque(self, value: Any) -> Any:
        """The same value, of which the compiler knows nothing."""
        nothing = ir.InlineAsm(ir.FunctionType(value.type, [value.type]), "", "=r,0", side_effect=True)
        return self.builder.call(nothing, [value])

    def place(self, numbers: Any, index: Any) -> Any:
        return self.builder.bitcast(self.builder.gep(numbers, [index]), _VECTOR.as_pointer())

    def elements(self, argument: int) -> list[Any]:
        """The elements of an argument, a tuple."""
        count = self.signature.args[argument].count
        return [self.builder.extract_value(self.values[argument], k) for k in range(count)]


def lines_weigher(rows: int, step: int) -> Callable[..., Any]:
    """A function that weighs lines of an array, and shares lines between the rows that it makes.

    ``weigh(source, start, line, weights, out, at, pitch)`` fills 16 numbers of each row ``r`` of ``out``: number
    ``at + r * pitch + j`` becomes the sum over k of ``weights[k] * source[start + (r * step + k) * line + j]``. The
    first product is rounded and the others are added in order by fused multiply-adds. Arrays are contiguous float32,
    and weights a tuple of float32.
    """

    def weigh(typingctx: Any, source: Any, start: Any, line: Any, weights: Any, out: Any, at: Any, pitch: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            code = _Code(context, builder, signature, values)
            numbers, made = code.pointer(0), code.pointer(4)
            _, index, line, _, _, at, pitch = values
            factors = [code.splat(weight) for weight in code.elements(3)]
            totals: list[Any] = [None] * rows
            for k in range((rows - 1) * step + len(factors)):
                read = builder.load(code.place(numbers, index), align=4)
                # Otherwise the compiler computes all places in advance, and they fill its registers.
                index = code.opaque(builder.add(index, line))
                for row in range(rows):
                    if 0 <= k - row * step < len(factors):
                        factor = factors[k - row * step]
                        is_first = totals[row] is None
                        totals[row] = builder.fmul(factor, read) if is_first else code.fma(factor, read, totals[row])
            for total in totals:
                builder.store(total, code.place(made, at), align=4)
                at = builder.add(at, pitch)
            return context.get_dummy_value()

        return types.none(source, start, line, weights, out, at, pitch), codegen

    return intrinsic(weigh)


@intrinsic
def add_weighted(typingctx: Any, source: Any, starts: Any, weights: Any, target: Any, at: Any, factor: Any) -> Any:
    """Add a weighted sum times a factor to 16 numbers of ``target`` from ``at`` on, by a fused multiply-add.

    The sum is ``weights[k] * source[starts[k] + j]`` over k, the first product rounded and the others added in order by
    fused multiply-adds. Arrays are contiguous float32; ``starts`` (int64) and ``weights`` (float32) are tuples.
    """

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        code = _Code(context, builder, signature, values)
        numbers = code.pointer(0)
        total = None
        for start, weight in zip(code.elements(1), code.elements(2), strict=True):
            read = builder.load(code.place(numbers, start), align=4)
            factor = code.splat(weight)
            total = builder.fmul(factor, read) if total is None else code.fma(factor, read, total)
        where = code.place(code.pointer(3), values[4])
        builder.store(code.fma(code.splat(values[5]), total, builder.load(where, align=4)), where, align=4)
        return context.get_dummy_value()

    return types.none(source, starts, weights, target, at, factor), codegen
