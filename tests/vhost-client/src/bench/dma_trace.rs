// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the DMA API maps and unmaps for a device meanwhile, by the kernel's own tracepoints.

use anyhow::{ensure, Context, Result};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

const TRACING: &str = "/sys/kernel/tracing";
const EVENTS: [&str; 2] = ["dma_map_phys", "dma_unmap_phys"];

/// What was mapped and unmapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traced {
    pub maps: u64,
    pub mapped_bytes: u64,
    pub unmaps: u64,
    pub unmapped_bytes: u64,
}

/// Does the work with the events on. They cost time, so nothing should be timed meanwhile. `function` is the bus
/// address of the device's PCI function; what others map is not counted.
pub fn traced<T>(function: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, Traced)> {
    switch("1")?;
    let result = write("trace", "").and_then(|()| work());
    let text = read("trace");
    switch("0")?;
    let result = result?;
    Ok((result, parse(&text?, function)?))
}

/// The bus address of the function that a vDPA device belongs to.
pub fn function_of(device: &str) -> Result<String> {
    let path = fs::canonicalize(Path::new("/sys/bus/vdpa/devices").join(device))?;
    let parent = path.parent().and_then(Path::file_name);
    Ok(parent
        .context("the device has no parent")?
        .to_string_lossy()
        .into_owned())
}

fn switch(value: &str) -> Result<()> {
    EVENTS
        .iter()
        .try_for_each(|event| write(&format!("events/dma/{event}/enable"), value))
}

fn path(file: &str) -> PathBuf {
    Path::new(TRACING).join(file)
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(path(file), text).with_context(|| format!("writing {TRACING}/{file}"))
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(path(file)).with_context(|| format!("reading {TRACING}/{file}"))
}

/// Counts the events of one function.
fn parse(trace: &str, function: &str) -> Result<Traced> {
    let mut traced = Traced::default();
    for line in trace.lines().filter(|line| !line.starts_with('#')) {
        ensure!(
            !line.contains("LOST"),
            "the trace buffer has overflowed: {line}"
        );
        let event = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            rest.strip_prefix(": ")?.strip_prefix(function)
        };
        let (fields, is_map) = match (event("dma_map_phys"), event("dma_unmap_phys")) {
            (Some(fields), _) => (fields, true),
            (_, Some(fields)) => (fields, false),
            _ => continue,
        };
        let size: u64 = fields
            .split_whitespace()
            .find_map(|word| word.strip_prefix("size="))
            .and_then(|number| number.parse().ok())
            .with_context(|| format!("no size in '{line}'"))?;
        if is_map {
            traced.maps += 1;
            traced.mapped_bytes += size;
        } else {
            traced.unmaps += 1;
            traced.unmapped_bytes += size;
        }
    }
    Ok(traced)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "# tracer: nop\n#\n\
        client-77 [000] ..... 5.1: dma_map_phys: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=1000 size=4096 phys_addr=1000 attrs=\n\
        client-77 [000] ..... 5.2: dma_map_phys: 0000:00:03.0 dir=BIDIRECTIONAL dma_addr=9000 size=512 phys_addr=9000 attrs=\n\
        client-77 [000] ..... 5.3: dma_unmap_phys: 0000:00:02.0 dir=BIDIRECTIONAL dma_addr=2000 size=8192 attrs=\n";

    #[test]
    fn only_the_events_of_the_function_count() {
        let traced = parse(TRACE, "0000:00:02.0").unwrap();
        assert_eq!((traced.maps, traced.mapped_bytes), (1, 4096));
        assert_eq!((traced.unmaps, traced.unmapped_bytes), (1, 8192));
        assert_eq!(parse(TRACE, "0000:00:04.0").unwrap(), Traced::default());
    }

    #[test]
    fn lost_events_and_lines_without_a_size_are_errors() {
        assert!(parse("CPU:0 [LOST 12 EVENTS]\n", "x").is_err());
        assert!(parse("c-1 [0] ..... 1.0: dma_map_phys: x dir=A\n", "x").is_err());
    }
}
