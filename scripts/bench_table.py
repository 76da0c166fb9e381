# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""What the figures of scripts/bench say of maps and resets: ratios, and tables for people. Nothing here measures, and nothing is made up: what
was not measured appears as that, with the reason."""

BASE = "sim"
WHAT = ("instructions", "ns")


class Figures:
    """The measurements of one run, by device, experiment and number of ranges."""

    def __init__(self, measured):
        self.devices = []
        self.failures = []
        self.cases = {}
        for report in measured:
            device, experiment = report["device"], report["experiment"].removeprefix("bench-")
            if device not in self.devices and experiment != "doorbells":
                self.devices.append(device)
            if report.get("error"):
                self.failures.append(f"{device}: {experiment}: {report['error']}")
            for case in report.get("values", {}).get("cases", []):
                name = "unbatched" if case.get("batched") is False else experiment
                if "error" in case:
                    self.failures.append(f"{device}: {name} of {case['ranges']} ranges: {case['error']}")
                else:
                    self.cases[device, name, case["ranges"]] = case

    def sizes(self, name):
        return sorted({ranges for _, experiment, ranges in self.cases if experiment == name})

    def of(self, name):
        """Yields device, number of ranges and case of an experiment, in the order of sizes."""
        for ranges in self.sizes(name):
            for device in [*self.devices, "logged"]:
                if case := self.cases.get((device, name, ranges)):
                    yield device, ranges, case

    def minimum(self, device, name, ranges, part, what):
        """The least that was seen, None if it was not."""
        summary = self.cases.get((device, name, ranges), {}).get(part, {}).get(what)
        return summary["minimum"] if summary else None


def quotient(above, below):
    return above / below if above is not None and below else None


def ratios(measured):
    """Every ratio of minima, by name; None where a figure for it is missing. A name ends with what was compared."""
    figures = Figures(measured)
    found = {}
    for what in WHAT:
        for device, ranges, _ in figures.of("reset"):
            smallest = figures.sizes("reset")[0]
            if ranges != smallest:
                found[f"{device}: reset, {ranges} ranges / {smallest}: {what}"] = quotient(
                    figures.minimum(device, "reset", ranges, "reset", what), figures.minimum(device, "reset", smallest, "reset", what))
        for device, ranges, _ in figures.of("restart"):
            found[f"{device}: restart of {ranges} ranges, mapped anew / map kept: {what}"] = quotient(
                figures.minimum(device, "restart", ranges, "mapped_anew", what), figures.minimum(device, "restart", ranges, "map_kept", what))
        for name, part in ("map", "map"), ("unbatched", "map"), ("change", "change"), ("restart", "map_kept"), ("restart", "mapped_anew"), ("reset", "reset"):
            for device, ranges, _ in figures.of(name):
                if device != BASE:
                    title = name if part == name or part == "map" else f"{name} with {part.replace('_', ' ')}"
                    found[f"{device} / {BASE}: {title}, {ranges} ranges: {what}"] = quotient(
                        figures.minimum(device, name, ranges, part, what), figures.minimum(BASE, name, ranges, part, what))
    return found


# ---- For people ----


def number(value):
    return "-" if value is None else f"{value:,.0f}"


def time_of(nanoseconds):
    if nanoseconds is None:
        return "-"
    for limit, unit in (1e4, "ns"), (1e7, "us"), (1e10, "ms"):
        if nanoseconds < limit:
            return f"{nanoseconds / limit * 1e4:,.0f} {unit}"
    return f"{nanoseconds / 1e9:,.0f} s"


def ratio(above, below):
    value = quotient(above, below)
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value < 0.95 or value > 1.05 else f"{value:.3f}"


def table(title, head, rows):
    if not rows:
        return [title, "  not measured", ""]
    widths = [max(len(str(row[column])) for row in [head, *rows]) for column in range(len(head))]
    lines = ["  " + "  ".join(str(cell).ljust(width) if column < 1 else str(cell).rjust(width) for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
             for row in [head, ["-" * width for width in widths], *rows]]
    return [title, *lines, ""]


def spread(case, part, what):
    """How far the median is above the minimum, in percent."""
    summary = case[part].get(what)
    return f"+{100 * (summary['median'] / summary['minimum'] - 1):.0f} %" if summary and summary["minimum"] else "-"


def pair(figures, name, part, per_range=False):
    """Rows of both kinds of cost, each beside the ratio to the base's and how far the median is away."""
    rows = []
    for device, ranges, case in figures.of(name):
        row = [device, f"{ranges:,}"]
        for what, show in ("instructions", number), ("ns", time_of):
            mine = figures.minimum(device, name, ranges, part, what)
            base = figures.minimum(BASE, name, ranges, part, what)
            shown = mine / ranges if per_range and mine is not None else mine
            row += [show(shown), spread(case, part, what), ratio(mine, base)]
        rows.append(row)
    return rows


def for_people(run):
    """All tables as one text."""
    figures = Figures(run["maps"])
    lines = [f"Linux {run['kernel']}, {run['qemu']}, {run['accelerator']}, checkout {run['checkout']}; {run['seconds']} s on {run['processors']} processors, "
             f"load {run['load_before']:.1f} before.",
             "Minima of many rounds, in brackets of '+': how far the median lies above. 'sim' is vdpa_sim_net with set_map, without a card;",
             "'sim-dma-map' the same with dma_map; 'mooring-explicit' a card without 1:1 mode, whose driver has dma_map.", ""]
    check = next((report["values"]["counter_check"] for report in run["maps"] if "counter_check" in report.get("values", {})), {})
    if check.get("counted"):
        lines += [f"The counter says {check['counted']:,} of a loop of {check['executed']:,} instructions.", ""]
    if run.get("instructions_not_counted"):
        lines += [run["instructions_not_counted"], ""]
    both = ["parent", "ranges", "instructions", "median", "/ sim", "time", "median", "/ sim"]
    resets = []
    for device, ranges, case in figures.of("reset"):
        row = [device, f"{ranges:,}", case.get("iommu_commands_in_all_resets")]
        smallest = figures.sizes("reset")[0]
        for what, show in ("instructions", number), ("ns", time_of):
            mine = figures.minimum(device, "reset", ranges, "reset", what)
            row += [show(mine), spread(case, "reset", what), ratio(mine, figures.minimum(device, "reset", smallest, "reset", what))]
        resets.append(["-" if cell is None else cell for cell in row])
    lines += table("A reset of a running device, by how much is mapped",
                   ["parent", "ranges", "IOMMU commands", "instructions", "median", "/ 1 range", "time", "median", "/ 1 range"], sorted(resets, key=lambda row: figures.devices.index(row[0])))
    restarts = []
    for device, ranges, _ in figures.of("restart"):
        row = [device, f"{ranges:,}"]
        for what, show in ("instructions", number), ("ns", time_of):
            kept, anew = (figures.minimum(device, "restart", ranges, part, what) for part in ("map_kept", "mapped_anew"))
            row += [show(kept), show(anew), ratio(anew, kept)]
        restarts.append(row)
    lines += table("To start again after a reset: with the map kept, and with everything unmapped and mapped anew",
                   ["parent", "ranges", "kept: instr.", "anew: instr.", "anew / kept", "kept: time", "anew: time", "anew / kept"], restarts)
    lines += table("To map in one batch, per range: all messages, and their end", both, pair(figures, "map", "map", per_range=True))
    lines += table("  of that, the end of the batch, which is set_map where there is one", both, pair(figures, "map", "batch_end", per_range=True))
    lines += table("To map without a batch, per range", both, pair(figures, "unbatched", "map", per_range=True))
    lines += table("To unmap everything by one message in a batch, per range", both, pair(figures, "map", "unmap", per_range=True))
    lines += table("To exchange one page, in a batch", both, pair(figures, "change", "change"))
    commands = []
    for name, title in ("map", "map in a batch"), ("unbatched", "map without a batch"), ("change", "exchange one page"):
        for device, ranges, case in figures.of(name):
            issued = case.get("commands") if name == "change" else case.get("commands_maximum")
            dma = case.get("dma") or {}
            traced = f"{dma['maps']} ({dma['mapped_bytes']:,} bytes)" if "maps" in dma else "not counted" if name != "change" else dma.get("error", "-")
            if case.get("extents") is not None:
                commands.append([f"{device}: {title}", f"{ranges:,}", f"{case['extents']:,}", number(issued), traced])
    lines += table("What the card and the DMA API get", ["", "ranges", "extents", "commands", "DMA mappings"], commands)
    lines += table("Doorbells of the command queue, counted in the log of another card", ["", "ranges", "commands", "doorbells"],
                   [["map in a batch", f"{ranges:,}", number(case["commands_maximum"]), number(case["doorbells"])] for _, ranges, case in figures.of("doorbells")])
    if figures.failures:
        lines += ["Not measured:", *(f"  {failure}" for failure in figures.failures), ""]
    return "\n".join(lines)
