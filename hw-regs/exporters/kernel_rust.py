# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Registers for the kernel module, in the kernel's own `register!` macro."""

import textwrap

from .model import NOTICE, SPDX

WIDTH = 100

HEAD = f"""\
// {SPDX}
//
// {NOTICE}

//! The registers of a Mooring card, for the kernel module.

// They describe the card, of which a driver need not use everything.
#![allow(dead_code)]

use kernel::{{
    io::register,
    num::Bounded,
    prelude::*, //
}};
"""


def export(card):
    parts = [HEAD, _constants(card)]
    parts += [_enumeration(enumeration) for enumeration in card.enumerations]
    parts += [_block(block) for block in card.blocks]
    return "\n".join(parts)


def _doc(text, indent=""):
    prefix = f"{indent}/// "
    return "".join(line + "\n" for line in textwrap.wrap(
        text, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False))


def _constants(card):
    doorbells = card.doorbells
    items = [
        ("BAR of the registers.", "BAR_REGISTERS: u32", card.bar),
        ("BAR of the doorbells.", "BAR_DOORBELLS: u32", doorbells.bar),
        ("BAR of the MSI-X table and pending bits.", "BAR_MSIX: u32", card.msix_bar),
        ("Bytes of the registers' BAR.", "REGISTERS_SIZE: usize", f"{card.size:#x}"),
        ("Bytes from one queue's doorbell to the next one's.", "DOORBELL_STRIDE: usize", f"{doorbells.stride:#x}"),
        ("Most doorbells that a card can have.", "DOORBELL_MAX: usize", doorbells.count),
    ]
    return "".join(f"/// {text}\npub(crate) const {name} = {value};\n" for text, name, value in items)


def _enumeration(enumeration):
    name = camel(enumeration.name)
    bounded = f"Bounded<u32, {enumeration.width}>"
    members = "".join(
        _doc(text, "    ") + f"    {camel(member)} = {value},\n" for member, value, text in enumeration.members)
    from_arms = "".join(
        f"            {value} => Ok(Self::{camel(member)}),\n" for member, value, _ in enumeration.members)
    into_arms = "".join(
        f"            {name}::{camel(member)} => {bounded.replace('<', '::<', 1)}::new::<{value}>(),\n"
        for member, value, _ in enumeration.members)
    return f"""\
/// Values of the field `{enumeration.user[1]}` of [`{enumeration.user[0]}`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum {name} {{
{members}}}

impl TryFrom<{bounded}> for {name} {{
    type Error = Error;

    fn try_from(value: {bounded}) -> Result<Self> {{
        match value.get() {{
{from_arms}            _ => Err(EINVAL),
        }}
    }}
}}

impl From<{name}> for {bounded} {{
    fn from(value: {name}) -> Self {{
        match value {{
{into_arms}        }}
    }}
}}
"""


def _block(block):
    text = "".join(line + "\n" for line in textwrap.wrap(
        f"{block.title}: {_uncapitalised(block.description)}", WIDTH, initial_indent="// ", subsequent_indent="// "))
    return f"{text}\nregister! {{\n" + "\n".join(_register(register) for register in block.registers) + "}\n"


def _register(register):
    text = _doc(f"{register.title}. {register.description}", "    ")
    text += f"    pub(crate) {register.name}(u32) @ {register.offset:#010x} {{\n"
    for field in register.fields:
        text += _doc(field.description, "        ")
        bits = f"{field.high}:{field.low}"
        text += f"        {bits:7} {field.name}{_conversion(field)};\n"
    return text + "    }\n"


def _conversion(field):
    """Fields as wide as a primitive type are converted to it; others stay the kernel's bounded integers."""
    if field.enumeration:
        return f" ?=> {camel(field.enumeration.name)}"
    primitive = {1: "bool", 8: "u8", 16: "u16", 32: "u32"}.get(field.width)
    return f" => {primitive}" if primitive else ""


def camel(name):
    return "".join(word.capitalize() for word in name.split("_"))


def _uncapitalised(text):
    return text[0].lower() + text[1:]
