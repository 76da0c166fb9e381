# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What the figures of scripts/bench say of frames: ratios, and tables for people. Nothing here measures, and nothing is made
up: what was not measured appears as that, with the reason."""

from bench_table import number, quotient, ratio, table, time_of

PARENT = "mooring"
# The unit of what is measured, and its size.
STREAMS = {"tcp": ("Mbit/s", 1e-6), "udp": ("packets/s", 1), "testpmd": ("packets/s", 1)}


class Figures:
    """The measurements of one run, by device and case."""

    def __init__(self, measured):
        self.failures = []
        self.cases = {}
        # Of the card that logs every access.
        self.logged = []
        for report in measured:
            device, experiment = report["device"], report["experiment"].removeprefix("bench-")
            if report.get("error"):
                self.failures.append(f"{device}: {experiment}: {report['error']}")
            for case in (report.get("values") or {}).get("cases", []):
                name = (f"{case['size']} bytes, {case['window']} under way",) if "window" in case else (experiment,)
                if "error" in case:
                    self.failures.append(f"{device}: {', '.join(name)}: {case['error']}")
                elif experiment == "accesses":
                    self.logged.append(case)
                else:
                    self.cases["vp-vdpa" if device == "vp-loop" else device, experiment == "frames", name[0]] = case

    def names(self, frames):
        """Names of the cases of either half, in the order in which they were measured."""
        return list(dict.fromkeys(name for _, half, name in self.cases if half == frames))

    def devices(self, frames):
        return list(dict.fromkeys(device for device, half, _ in self.cases if half == frames))

    def case(self, device, frames, name):
        return self.cases.get((device, frames, name))


def per_frame(case, part):
    """A cost of the round in which it was least, per frame; None if it was not measured."""
    summary = case and case["round"].get(part)
    return summary["minimum"] / case["frames"] if summary else None


def median(case, part):
    return case[part]["median"] / case["frames"] if case and case.get(part) else None


def reached(case):
    """What a stream got through, in what it is measured by, or how long the fastest ping took; None if it was not measured."""
    if not case:
        return None
    if "packets_per_second" in case:
        return case["packets_per_second"]
    if "iperf3" not in case:
        return case.get("minimum_ms")
    end = case["iperf3"].get("end", {})
    kind = case["case"].split("-")[0]
    if kind == "tcp":
        return end.get("sum_received", {}).get("bits_per_second")
    # What arrived: a sender without a limit loses most.
    total = end.get("sum", {})
    seconds = total.get("seconds")
    return (total["packets"] - total["lost_packets"]) / seconds if seconds and "lost_packets" in total else None


def ratios(measured):
    """Every ratio of our parent to another one, by name; None where a figure for it is missing."""
    figures = Figures(measured)
    found = {}
    for name in figures.names(True):
        for other in figures.devices(True):
            if other != PARENT:
                for part in "instructions", "ns":
                    found[f"{PARENT} / {other}: a frame, {name}: {part}"] = quotient(
                        per_frame(figures.case(PARENT, True, name), part), per_frame(figures.case(other, True, name), part))
    for name in figures.names(False):
        for other in figures.devices(False):
            if other != PARENT:
                # Only our parent has more than one pair here.
                found[f"{PARENT} / {other}: {name}"] = quotient(reached(figures.case(PARENT, False, name)), reached(figures.case(other, False, name)))
        first = name.split("-")[0] + "-1"
        if name != first and "-" in name:
            found[f"{PARENT}: {name} / {first}"] = quotient(reached(figures.case(PARENT, False, name)), reached(figures.case(PARENT, False, first)))
    return found


def for_people(run):
    """All tables as one text."""
    figures = Figures(run["frames"])
    lines = [f"Linux {run['kernel']}, {run['qemu']}, {run['accelerator']}, checkout {run['checkout']}; {run['processors']} processors, load {run['load_before']:.1f} before.",
             "'sim' is vdpa_sim_net; 'vp-vdpa' is vp_vdpa over QEMU's virtio-net-pci.", ""]
    rows = []
    for name in figures.names(True):
        for device in figures.devices(True):
            if case := figures.case(device, True, name):
                ours = figures.case(PARENT, True, name)
                row = [f"{name}: {device}"]
                for part, show in ("ns", time_of), ("instructions", number):
                    mine = per_frame(case, part)
                    row += [show(mine), ratio(per_frame(ours, part), mine)]
                rows.append(row + [f"{value:.2f}" if (value := median(case, part)) is not None else "-" for part in ("transmit_kicks", "receive_kicks", "interrupts")])
    lines += table("A frame sent through vhost-vdpa, and back: the round in which it was least",
                   ["", "time", "mooring / it", "instructions", "mooring / it", "kicks: transmit", "receive", "interrupts"], rows)
    rows = []
    for name in figures.names(False):
        for device in figures.devices(False):
            if case := figures.case(device, False, name):
                unit, factor = STREAMS.get(name.split("-")[0], ("ms", 1))
                value = reached(case)
                each = [f"{case[part] / case['frames']:.3f}" if case.get(part) is not None and case.get("frames") else "-" for part in ("interrupts", "doorbells")]
                rows.append([f"{name}: {device}", "-" if value is None else f"{value * factor:,.3f} {unit}" if unit == "ms" else f"{value * factor:,.0f} {unit}",
                             ratio(reached(figures.case(PARENT, False, name)), value), *each])
    lines += table("testpmd on a device in a loop; between two interfaces: the fastest ping, and iperf3 with as many streams as queue pairs",
                   ["", "", "mooring / it", "interrupts a frame", "doorbells a frame"], rows)
    rows = [[f"{case['frames']} frames, {case['window']} under way", *(f"{median(case, part):.3f}" for part in ("transmit_kicks", "receive_kicks", "interrupts")),
             f"{case['accesses'] / case['frames']:.3f}"] for case in figures.logged]
    lines += table("Accesses to the card per frame, counted in the log of another card", ["", "kicks: transmit", "receive", "interrupts", "register accesses"], rows)
    if figures.failures:
        lines += ["Not measured:", *(f"  {failure}" for failure in figures.failures), ""]
    return "\n".join(lines)
