// SPDX-License-Identifier: GPL-2.0-only

//! Memory that a card accesses.

mod mapping;
mod pages;
pub(crate) mod ring;

pub(crate) use self::{
    mapping::Mapping,
    pages::PageRefs, //
};
