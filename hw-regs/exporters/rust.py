# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What the two Rust exporters share."""

import textwrap

# As rustfmt has it.
WIDTH = 100


def doc(text, indent=""):
    prefix = f"{indent}/// "
    return "".join(line + "\n" for line in textwrap.wrap(
        text, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False))


def constants(card, visibility, separator):
    doorbells = card.doorbells
    items = [
        ("BAR of the registers.", "BAR_REGISTERS: u32", card.bar),
        ("BAR of the doorbells.", "BAR_DOORBELLS: u32", doorbells.bar),
        ("BAR of the MSI-X table and pending bits.", "BAR_MSIX: u32", card.msix_bar),
        ("Bytes of the registers' BAR.", "REGISTERS_SIZE: usize", f"{card.size:#x}"),
        ("Bytes from one queue's doorbell to the next one's.", "DOORBELL_STRIDE: usize", f"{doorbells.stride:#x}"),
        ("Most doorbells that a card can have.", "DOORBELL_MAX: usize", doorbells.count),
    ]
    for window in card.windows:
        items += [
            (f"Where the {_title(window)} begins in the registers' BAR. {window.description}",
             f"{window.name}_OFFSET: usize", f"{window.offset:#05x}"),
            (f"Bytes of the {_title(window)}.", f"{window.name}_SIZE: usize", window.size),
        ]
    return separator.join(f"{doc(text)}{visibility} const {name} = {value};\n" for text, name, value in items)


def _title(window):
    return window.title[0].lower() + window.title[1:]
