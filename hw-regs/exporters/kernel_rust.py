# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Registers for the kernel module, in the kernel's own `register!` macro."""

import textwrap

from .model import NOTICE, SPDX
from .rust import WIDTH, constants, doc

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
    parts = [HEAD, constants(card, "pub(crate)", "")]
    parts += [_enumeration(enumeration) for enumeration in card.enumerations]
    parts += [_block(block) for block in card.blocks]
    return "\n".join(parts)


def _enumeration(enumeration):
    name = camel(enumeration.name)
    bounded = f"Bounded<u32, {enumeration.width}>"
    members = "".join(
        doc(text, "    ") + f"    {camel(member)} = {value},\n" for member, value, text in enumeration.members)
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
    text = doc(f"{register.title}. {register.description}", "    ")
    text += f"    pub(crate) {register.name}(u32) @ {register.offset:#010x} {{\n"
    for field in register.fields:
        text += doc(field.description, "        ")
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
