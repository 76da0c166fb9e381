# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What the figures of scripts/bench say of disks: ratios, and a table for people. Nothing here measures, and nothing is made
up: what was not measured appears as that, with the reason."""

from bench_table import number, quotient, ratio, table, time_of

PARENT = "mooring"


def collect(measured):
    """Returns the cases by device and name, in the order in which they were measured, and what failed."""
    cases, failures = {}, []
    for report in measured:
        if report.get("error"):
            failures.append(f"{report['device']}: {report['experiment'].removeprefix('bench-')}: {report['error']}")
        for case in (report.get("values") or {}).get("cases", []):
            cases[report["device"], case["case"]] = case
    return cases, failures


def done(case):
    """What fio says of the requests."""
    return case["fio"]["jobs"][0][case["direction"]] if case else {}


def ratios(measured):
    """Every ratio of our parent's requests per second to those of another one, by name; None where a figure for it is missing."""
    cases, _ = collect(measured)
    return {f"{PARENT} / {device}: {name}": quotient(done(cases.get((PARENT, name))).get("iops"), done(case).get("iops"))
            for (device, name), case in cases.items() if device != PARENT}


def for_people(run):
    """The table as text."""
    cases, failures = collect(run["disks"])
    lines = [f"Linux {run['kernel']}, {run['qemu']}, {run['accelerator']}, checkout {run['checkout']}; {run['processors']} processors, load {run['load_before']:.1f} before.",
             "'sim' is vdpa_sim_blk, a disk in memory; 'vp-vdpa' is vp_vdpa over QEMU's virtio-blk-pci, on a file as the card's disk is.", ""]
    rows = []
    for name in dict.fromkeys(name for _, name in cases):
        for device in dict.fromkeys(device for device, _ in cases):
            if case := cases.get((device, name)):
                fio = done(case)
                rows.append([f"{name}: {device}", number(fio["iops"]), ratio(done(cases.get((PARENT, name))).get("iops"), fio["iops"]), f"{fio['bw_bytes'] / 1e6:,.1f}",
                             time_of(fio["clat_ns"]["mean"]), f"{case['interrupts'] / fio['total_ios']:.3f}" if fio["total_ios"] else "-"])
    lines += table("Requests of fio to a disk, through the kernel's virtio_blk", ["", "per second", "mooring / it", "MB/s", "mean latency", "interrupts a request"], rows)
    if failures:
        lines += ["Not measured:", *(f"  {failure}" for failure in failures), ""]
    return "\n".join(lines)
