# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Registers for the card model and the firmware: no_std Rust without dependencies.

What comes out is as rustfmt would leave it, so that formatting needs no second tool.
"""

from .kernel_rust import camel
from .model import NOTICE, SPDX
from .rust import constants, doc

HEAD = f"""\
// {SPDX}
//
// {NOTICE}

//! The registers of a Mooring card: names, offsets, reset values, access masks and fields.
//!
//! Each register is a type around its 32-bit word, with a getter and a `with_` setter for each field;
//! [`REGISTERS`] has all of them as data. The doorbells, which hold nothing, are constants.

/// A register as data. Bits in none of the masks read as 0 and ignore writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {{
    /// Block and register, as everywhere: `CMDQ_TAIL`.
    pub name: &'static str,
    /// Bytes from the start of the BAR.
    pub offset: usize,
    /// Value after power-on and after a card reset; fields that each card sets as it was built are 0.
    pub reset: u32,
    /// Bits that the host reads.
    pub read_mask: u32,
    /// Bits that the host writes and that hold what was written.
    pub write_mask: u32,
    /// Bits that act when the host writes a 1, hold nothing and read as 0.
    pub strobe_mask: u32,
    /// The fields, most significant first.
    pub fields: &'static [Field],
}}

impl Register {{
    /// What the host sees of `word`.
    pub const fn visible(&self, word: u32) -> u32 {{
        word & self.read_mask
    }}

    /// What a register that holds `old` holds after the host wrote `new`.
    pub const fn written(&self, old: u32, new: u32) -> u32 {{
        (old & !self.write_mask) | (new & self.write_mask)
    }}
}}

/// A field as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {{
    /// The field's name in its register.
    pub name: &'static str,
    /// Number of the lowest bit.
    pub shift: u32,
    /// The field's bits in the register.
    pub mask: u32,
}}

impl Field {{
    /// The field's value in `word`.
    pub const fn get(&self, word: u32) -> u32 {{
        (word & self.mask) >> self.shift
    }}

    /// `word` with the field set to `value`, of which bits that don't fit are dropped.
    pub const fn set(&self, word: u32, value: u32) -> u32 {{
        (word & !self.mask) | ((value << self.shift) & self.mask)
    }}
}}
"""


def export(card):
    parts = [HEAD, constants(card, "pub", "\n"), _table(card)]
    parts += [_enumeration(enumeration) for enumeration in card.enumerations]
    parts += [_register(block, register) for block in card.blocks for register in block.registers]
    return "\n".join(parts)


def _table(card):
    lines = "".join(f"    {camel(register.name)}::REGISTER,\n" for register in card.registers)
    return f"""\
/// Every register, in the order of the offsets.
pub const REGISTERS: [Register; {len(card.registers)}] = [
{lines}];
"""


def _enumeration(enumeration):
    members = "".join(
        doc(text, "    ") + f"    {camel(member)} = {value},\n" for member, value, text in enumeration.members)
    arms = "".join(
        f"            {value} => Some(Self::{camel(member)}),\n" for member, value, _ in enumeration.members)
    register, field = enumeration.user
    return f"""\
/// Values of [`{camel(register)}::{field}`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum {camel(enumeration.name)} {{
{members}}}

impl {camel(enumeration.name)} {{
    /// The value of this number, if there is one.
    pub const fn from_number(number: u32) -> Option<Self> {{
        match number {{
{arms}            _ => None,
        }}
    }}
}}
"""


def _register(block, register):
    constants = "".join(_field_constant(field) for field in register.fields)
    methods = "".join(_field_methods(field) for field in register.fields)
    return f"""\
{doc(f"{block.title}: {register.title}. {register.description}")}\
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct {camel(register.name)}(pub u32);

impl {camel(register.name)} {{
    /// Bytes from the start of the BAR.
    pub const OFFSET: usize = {register.offset:#05x};

    /// Value after power-on and after a card reset.
    pub const RESET_VALUE: u32 = {register.reset:#x};

    /// The register as data.
    pub const REGISTER: Register = Register {{
        name: "{register.name}",
        offset: Self::OFFSET,
        reset: Self::RESET_VALUE,
        read_mask: {register.read_mask:#010x},
        write_mask: {register.write_mask:#010x},
        strobe_mask: {register.strobe_mask:#010x},
{_field_list(register)}\
    }};
{constants}{methods}}}
"""


def _field_list(register):
    names = [f"Self::{field.name.upper()}" for field in register.fields]
    inside = ", ".join(names)
    # rustfmt keeps an array of up to 60 characters on one line.
    if len(inside) + 2 <= 60:
        return f"        fields: &[{inside}],\n"
    return "        fields: &[\n" + "".join(f"            {name},\n" for name in names) + "        ],\n"


def _field_constant(field):
    return f"""
{doc(field.description, "    ")}\
    pub const {field.name.upper()}: Field = Field {{
        name: "{field.name}",
        shift: {field.low},
        mask: {field.mask:#010x},
    }};
"""


def _field_methods(field):
    constant = f"Self::{field.name.upper()}"
    word = f"{constant}.get(self.0)"
    if field.enumeration:
        name = camel(field.enumeration.name)
        kind, result, value = name, f"Option<{name}>", "value as u32"
        word = f"{name}::from_number({word})"
    elif field.width == 1:
        kind = result = "bool"
        word, value = f"{word} != 0", "value as u32"
    else:
        kind = result = next(f"u{bits}" for bits in (8, 16, 32) if field.width <= bits)
        word, value = (word, "value") if kind == "u32" else (f"{word} as {kind}", "value as u32")
    return f"""
{doc(field.description, "    ")}\
    pub const fn {field.name}(self) -> {result} {{
        {word}
    }}

    /// The word with [`{field.name}`](Self::{field.name}) set.
    pub const fn with_{field.name}(self, value: {kind}) -> Self {{
        Self({constant}.set(self.0, {value}))
    }}
"""
