# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""The register reference.

Not PeakRDL-markdown: it puts the absolute path of the source into its output and a section around every field, which
makes it both irreproducible and three times as long as what a reader needs.
"""

from .model import NOTICE, SPDX

RULES = """\
All registers are 32 bits wide, little-endian, and accessed with aligned 32-bit reads and writes. Undefined addresses
and reserved bits read as 0 and ignore writes. Reset values are those after power-on and after a card reset. A read of
all ones from `INFO_MAGIC` means that the card is gone.

Access is the host's: **read**; **read, write**: holds what was written; **write**: acts when it is written, holds nothing
and reads as 0.
"""


def export(card):
    doorbells = card.doorbells
    parts = [
        f"<!-- {SPDX} -->\n<!-- {NOTICE} -->\n",
        "# Registers\n",
        RULES,
        _table(["BAR", "Bytes", "What"], [
            [card.bar, f"{card.size:#x}", "[Registers](#overview)"],
            [doorbells.bar, f"{doorbells.stride:#x} a queue", "[Doorbells](#doorbells)"],
            [card.msix_bar, "", "MSI-X table and pending bits, as the PCI specification lays them out"],
        ]),
        "## Overview\n",
        _table(["Offset", "Register", "Reset", "What"], [
            [f"`{register.offset:#05x}`", f"[`{register.name}`](#{register.name.lower()})",
             f"`{register.reset:#x}`", register.title]
            for register in card.registers
        ]),
    ]
    parts += [part for block in card.blocks for part in _block(block)]
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
        yield f"**{register.title}**, at `{register.offset:#05x}`, `{register.reset:#x}` after reset. {register.description}\n"
        yield _table(["Bits", "Field", "Access", "Reset", "Meaning"], [
            [_bits(field), f"`{field.name}`", field.access, f"`{field.reset:#x}`", _meaning(field)]
            for field in register.fields
        ])


def _meaning(field):
    if field.enumeration is None:
        return field.description
    name = field.enumeration.name
    return f"One of [`{name}`](#{name})."


def _bits(field):
    return str(field.low) if field.width == 1 else f"{field.high}:{field.low}"


def _enumeration(enumeration):
    yield f"## `{enumeration.name}`\n"
    yield _table(["Value", "Name", "Meaning"], [
        [value, f"`{name}`", text] for name, value, text in enumeration.members])


def _table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
