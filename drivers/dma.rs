// SPDX-License-Identifier: GPL-2.0-only

//! Memory that a card accesses.

pub(crate) mod bounce;
mod iova;
mod mapping;
mod pages;
pub(crate) mod ring;
mod slots;

pub(crate) use self::{
    iova::Linked,
    mapping::Mapping,
    pages::PageRefs, //
};
