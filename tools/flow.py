"""The loops of a function, from its jumps.

Not ranges of addresses: compilers put what they think is rare behind the end of a function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from disassembly import Instruction, Machine


@dataclass(frozen=True, eq=False)
class Loop:
    """A natural loop: blocks {index of the first instruction: indices}, and who follows whom."""

    head: int
    blocks: dict[int, range]
    following: dict[int, list[int]]

    @cached_property
    def instructions(self) -> frozenset[int]:
        """Indices of all its instructions."""
        return frozenset(i for block in self.blocks.values() for i in block)

    def heaviest_path(self, weight: Callable[[int], int]) -> list[int]:
        """The instructions of the way through the loop, once, that `weight` adds up to most.

        For a loop without loops inside.
        """
        best: dict[int, tuple[int, list[int]]] = {}  # block -> (weight from there, blocks)
        for block in reversed(_depth_first(self.following, self.head)):
            after = [best[to] for to in self.following[block] if to in best and to != self.head]
            heaviest = max(after, key=lambda way: way[0], default=(0, []))
            own = sum(weight(i) for i in self.blocks[block])
            best[block] = (own + heaviest[0], [block, *heaviest[1]])
        return [i for block in best[self.head][1] for i in self.blocks[block]]


def loops(body: list[Instruction], machine: Machine) -> list[Loop]:
    """The natural loops of a function."""
    blocks, following = _blocks(body, machine)
    dominators = _dominators(following)
    before: dict[int, list[int]] = {start: [] for start in blocks}
    for start in dominators:
        for to in following[start]:
            before[to].append(start)
    bodies: dict[int, set[int]] = {}  # head -> blocks; loops that share a head are one
    for start in dominators:
        for head in following[start]:
            if head in dominators[start]:
                found, waiting = bodies.setdefault(head, {head}), [start]
                while waiting:
                    block = waiting.pop()
                    if block not in found:
                        found.add(block)
                        waiting += before[block]
    return [
        Loop(
            head,
            {block: blocks[block] for block in found},
            {block: [to for to in following[block] if to in found] for block in found},
        )
        for head, found in bodies.items()
    ]


def _blocks(
    body: list[Instruction], machine: Machine
) -> tuple[dict[int, range], dict[int, list[int]]]:
    """The basic blocks of a function, and which follow each."""
    index = {instruction.address: i for i, instruction in enumerate(body)}
    starts = {0}
    edges: dict[int, list[int]] = {}  # the last instruction of a block -> where it may go
    for i, instruction in enumerate(body):
        jump = machine.jump(instruction)
        if jump is None:
            continue
        target, falls = jump
        to = [index[target]] if target in index else []
        if falls and i + 1 < len(body):
            to.append(i + 1)
        edges[i] = to
        starts.update(to)
        if i + 1 < len(body):
            starts.add(i + 1)
    order = sorted(starts)
    blocks = {
        start: range(start, end) for start, end in zip(order, [*order[1:], len(body)], strict=True)
    }
    following = {
        start: edges.get(block[-1], [block[-1] + 1] if block[-1] + 1 < len(body) else [])
        for start, block in blocks.items()
    }
    return blocks, following


def _depth_first(following: dict[int, list[int]], first: int) -> list[int]:
    """The blocks reached from `first`, each before those that follow it (loops apart)."""
    order, seen, stack = list[int](), {first}, [(first, iter(following[first]))]
    while stack:
        block, rest = stack[-1]
        for to in rest:
            if to not in seen:
                seen.add(to)
                stack.append((to, iter(following[to])))
                break
        else:
            order.append(block)
            stack.pop()
    order.reverse()
    return order


def _dominators(following: dict[int, list[int]]) -> dict[int, set[int]]:
    """{block: the blocks that every way from block 0 to it goes through}, for those reached."""
    order = _depth_first(following, 0)
    before: dict[int, list[int]] = {block: [] for block in order}
    for block in order:
        for to in following[block]:
            before[to].append(block)
    found = {block: set(order) for block in order}
    found[0] = {0}
    changed = True
    while changed:
        changed = False
        for block in order[1:]:
            new = set.intersection(*(found[b] for b in before[block])) | {block}
            if new != found[block]:
                found[block], changed = new, True
    return found
