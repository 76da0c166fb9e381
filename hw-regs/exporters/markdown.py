# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The register reference.

Not PeakRDL-markdown: it puts the absolute path of the source into its output and a section around every field, which
makes it both irreproducible and three times as long as what a reader needs.
"""

from .model import NOTICE, SPDX

LEGEND = """\
Access is the host's: **read**; **read, write**: holds what was written; **write**: acts when it is written, holds nothing
and reads as 0. A reset value of – means that each card sets the field as it was built.
"""


def export(card):
    doorbells = card.doorbells
    parts = [
        f"<!-- {SPDX} -->\n<!-- {NOTICE} -->\n",
        "# Registers\n",
        f"{card.description}\n",
        LEGEND,
        _table(["BAR", "Bytes", "What"], [
            [card.bar, f"{card.size:#x}", "[Registers](#overview)"],
            [doorbells.bar, f"{doorbells.stride:#x} a queue", "[Doorbells](#doorbells)"],
            [card.msix_bar, "", "MSI-X table and pending bits, as the PCI specification lays them out"],
        ]),
        "## Overview\n",
        _table(["Offset", "Register", "Reset", "What"], [
            [f"`{register.offset:#05x}`", f"[`{register.name}`](#{register.name.lower()})",
             _reset(register), register.title]
            for register in card.registers
        ]),
    ]
    parts += [part for block in card.blocks for part in _block(block)]
    parts += ["## Windows\n", "Memory in the same BAR, accessed as registers are.\n", _table(
        ["Offset", "Bytes", "Window", "Access", "Meaning"], [
            [f"`{window.offset:#05x}`", window.size, f"`{window.name}`", window.access,
             f"**{window.title}.** {window.description}"] for window in card.windows])]
    parts += [part for enumeration in card.enumerations for part in _enumeration(enumeration)]
    parts += [
        "## Doorbells\n",
        f"{doorbells.description}\n",
        f"{doorbells.register_description}\n",
        _table(["Offset", "Doorbell", "Access", "Value"], [
            [f"n × `{doorbells.stride:#x}`", f"Queue n, 0 ≤ n < {doorbells.count}", "write",
             doorbells.field_description]]),
    ]
    return "\n".join(parts)


def _block(block):
    yield f"## {block.title} (`{block.name}`)\n"
    yield f"{block.description}\n"
    for register in block.registers:
        yield f"### `{register.name}`\n"
        yield f"**{register.title}**, at `{register.offset:#05x}`. {register.description}\n"
        yield _table(["Bits", "Field", "Access", "Reset", "Meaning"], [
            [_bits(field), f"`{field.name}`", field.access, _field_reset(field), _meaning(field)]
            for field in register.fields
        ])


def _reset(register):
    known = all(field.reset is not None for field in register.fields)
    return f"`{register.reset:#x}`" if known else "–"


def _field_reset(field):
    return "–" if field.reset is None else f"`{field.reset:#x}`"


def _meaning(field):
    if field.enumeration is None:
        return field.description
    name = field.enumeration.name
    return f"{field.description} One of [`{name}`](#{name})."


def _bits(field):
    return str(field.low) if field.width == 1 else f"{field.high}:{field.low}"


def _enumeration(enumeration):
    yield f"## `{enumeration.name}`\n"
    yield _table(["Value", "Name", "Meaning"], [
        [value, f"`{name}`", text] for name, value, text in enumeration.members])


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
