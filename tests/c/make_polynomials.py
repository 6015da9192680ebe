"""Prints the coefficients that csrc/activations.inc has, computed anew.

    python tests/c/make_polynomials.py

Each polynomial is the minimax one, found by Remez' exchange in 60 digits, its coefficients then
rounded to the dtype; the comment gives the largest relative error that is left in the result, as a
power of two, before and after that rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np

Real = Any
Function = Callable[[Real], Real]

mp.mp.dps = 60

GRID = 400  # points between which the error is not looked at
DTYPES = {"float32": np.float32, "float64": np.float64}


def remez(f: Function, weight: Function, low: Real, high: Real, degree: int) -> list[Real]:
    """Coefficients, lowest first, of the polynomial with the least max |p - f| weight on
    [low, high].
    """
    n = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    grid = [middle - half * mp.cos(mp.pi * i / GRID) for i in range(GRID + 1)]
    values, weights = [f(x) for x in grid], [weight(x) for x in grid]
    at = [round(GRID * i / (n - 1)) for i in range(n)]
    while True:
        matrix = mp.matrix(n, n)
        for i, k in enumerate(at):
            for j in range(degree + 1):
                matrix[i, j] = grid[k] ** j
            matrix[i, degree + 1] = (-1) ** i / weights[k]
        *found, level = mp.lu_solve(matrix, mp.matrix([values[k] for k in at]))
        points = zip(grid, values, weights, strict=True)
        errors = [(mp.polyval(found[::-1], x) - y) * w for x, y, w in points]
        extrema: list[int] = []  # the largest of each run of one sign
        for k, error in enumerate(errors):
            if not extrema or (error > 0) != (errors[extrema[-1]] > 0):
                extrema.append(k)
            elif abs(error) > abs(errors[extrema[-1]]):
                extrema[-1] = k
        while len(extrema) > n:
            extrema.pop(0 if abs(errors[extrema[0]]) < abs(errors[extrema[-1]]) else -1)
        if len(extrema) < n or max(map(abs, errors)) < 1.01 * abs(level):
            return found
        at = extrema


def show(
    name: str, f: Function, weight: Function, low: Real, high: Real, degree: int, dtype: str
) -> None:
    """Prints a polynomial; |p - f| weight is the relative error of what it is for."""
    exact = remez(f, weight, low, high, degree)
    rounded = [DTYPES[dtype](float(c)) for c in exact]
    rest = DTYPES[dtype](float(exact[0] - mp.mpf(float(rounded[0]))))

    def error(coefficients: list[Real]) -> str:
        worst = max(
            abs(mp.polyval(coefficients[::-1], x) - f(x)) * weight(x)
            for x in mp.linspace(low, high, 3 * GRID)
        )
        return f"2**{float(mp.log(worst, 2)):.1f}"

    as_mp = [mp.mpf(float(c)) for c in rounded]
    if name == "tail":  # the formula has two numbers for the first
        as_mp[0] += mp.mpf(float(rest))
    print(f"/* {name}, {dtype}: {error(exact)}, rounded {error(as_mp)} */")
    digits = 9 if dtype == "float32" else 17
    suffix = "f" if dtype == "float32" else ""
    print("{" + ", ".join(f"{float(c):.{digits}g}{suffix}" for c in rounded) + "}")
    if name == "tail":
        print(f"rest of the first: {float(rest):.{digits}g}")


def exp_rest(r: Real) -> Real:
    """(e**r - 1 - r) / r**2"""
    return (mp.expm1(r) - r) / r**2 if abs(r) > 1e-15 else mp.mpf(1) / 2 + r / 6


def tanh_rest(z: Real) -> Real:
    """(tanh(a) / a - 1) / a**2 for z = a**2"""
    a = mp.sqrt(z)
    return (mp.tanh(a) / a - 1) / z if z > 1e-20 else 2 * z / 15 - mp.mpf(1) / 3


def tail(s: Real, k: float) -> Real:
    """(a + k) e**(a**2 / 2) erfc(a / sqrt 2) / k for s = a / (a + k)"""
    a = k * s / (1 - s)
    z = a / mp.sqrt(2)
    return mp.erfc(z) * mp.exp(z * z) * (a + k) / k


def main() -> None:
    half_ln2 = mp.log(2) / 2 * mp.mpf("1.0005")  # n = round(x / ln 2) may be off by a rounding
    worst = half_ln2**2 * mp.exp(half_ln2)  # of r**2 / e**r, the share of exp_rest in e**r
    for dtype, degree in (("float32", 4), ("float64", 9)):
        show("exp_rest", exp_rest, lambda r: worst, -half_ln2, half_ln2, degree, dtype)
    for dtype, degree in (("float32", 4), ("float64", 10)):
        end = mp.mpf("0.55") ** 2
        show("tanh_rest", tanh_rest, lambda z, e=end: e, mp.mpf(0), end, degree, dtype)
    for dtype, degree, k, largest in (("float32", 10, 2.5, 14.5), ("float64", 22, 4, 39)):
        middle, end = mp.mpf("0.5"), mp.mpf(largest) / (largest + k)

        def shifted(t: Real, k: float = k, middle: Real = middle) -> Real:
            return tail(t + middle, k)

        show("tail", shifted, lambda t, g=shifted: 1 / g(t), -middle, end - middle, degree, dtype)


if __name__ == "__main__":
    main()
