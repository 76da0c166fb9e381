# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Registers as C macros.

Not PeakRDL-cheader: it writes one packed structure a block and no offsets, descriptions or access masks, while RTL
test benches and drivers in C address registers by offset.
"""

import textwrap

from .model import NOTICE, SPDX

HEAD = f"""\
/* {SPDX} */
/*
 * {NOTICE}
 *
 * The registers of a Mooring card. For each register:
 *   _OFFSET       bytes from the start of the BAR
 *   _RESET_VALUE  value after power-on and after a card reset; fields that each card sets as it was built are 0
 *   _READ_MASK    bits that the host reads
 *   _WRITE_MASK   bits that the host writes and that hold what was written
 *   _STROBE_MASK  bits that act when the host writes a 1, hold nothing and read as 0
 * and for each of its fields _SHIFT and _MASK, the mask in the register's place.
 */
#ifndef MOORING_REGS_H
#define MOORING_REGS_H
"""


def export(card):
    parts = [HEAD, _constants(card)]
    parts += [_enumeration(enumeration) for enumeration in card.enumerations]
    parts += [_register(block, register) for block in card.blocks for register in block.registers]
    parts.append("#endif /* MOORING_REGS_H */\n")
    return "\n".join(parts)


def _comment(text):
    lines = textwrap.wrap(text, 96)
    if len(lines) == 1:
        return f"/* {lines[0]} */\n"
    return "/*\n" + "".join(f" * {line}\n" for line in lines) + " */\n"


def _define(name, value):
    return f"#define MOORING_{name:<47} {value}\n"


def _constants(card):
    doorbells = card.doorbells
    return "".join([
        _comment("Base address registers: registers, doorbells, MSI-X table and pending bits."),
        _define("BAR_REGISTERS", card.bar),
        _define("BAR_DOORBELLS", doorbells.bar),
        _define("BAR_MSIX", card.msix_bar),
        "\n",
        _comment("Bytes of the registers' BAR."),
        _define("REGISTERS_SIZE", f"{card.size:#x}"),
        "\n",
        _comment(f"Doorbells. {doorbells.description} {doorbells.register_description}"),
        _define("DOORBELL_STRIDE", f"{doorbells.stride:#x}"),
        _define("DOORBELL_MAX", doorbells.count),
        *(_window(window) for window in card.windows),
    ])


def _window(window):
    text = _comment(f"{window.title}, in the registers' BAR. {window.description}")
    return f"\n{text}" + _define(f"{window.name}_OFFSET", f"{window.offset:#05x}") + _define(f"{window.name}_SIZE", window.size)


def _enumeration(enumeration):
    name = f"MOORING_{enumeration.name.upper()}"
    width = max(len(member) for member, _, _ in enumeration.members)
    text = f"enum {name.lower()} {{\n"
    for member, value, description in enumeration.members:
        text += f"\t/* {description} */\n\t{name}_{member:<{width}} = {value},\n"
    # C90 knows no comma behind the last enumerator.
    return text.removesuffix(",\n") + "\n};\n"


def _register(block, register):
    text = _comment(f"{block.title}: {register.title}. {register.description}")
    name = register.name
    text += _define(f"{name}_OFFSET", f"{register.offset:#05x}")
    text += _define(f"{name}_RESET_VALUE", f"{register.reset:#010x}u")
    text += _define(f"{name}_READ_MASK", f"{register.read_mask:#010x}u")
    text += _define(f"{name}_WRITE_MASK", f"{register.write_mask:#010x}u")
    text += _define(f"{name}_STROBE_MASK", f"{register.strobe_mask:#010x}u")
    for field in register.fields:
        text += _comment(f"{field.name}: {field.description}")
        text += _define(f"{name}_{field.name.upper()}_SHIFT", field.low)
        text += _define(f"{name}_{field.name.upper()}_MASK", f"{field.mask:#010x}u")
    return text
