# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""One virtual machine with its cards: starting, waiting, and ending it without leaving anything behind."""

import json
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

FLAVOUR = os.environ.get("KERNEL", "stock")
KERNEL = f"{os.environ.get('KERNEL_MODULES')}/vmlinuz"
INITRAMFS = f"/build/guest-{FLAVOUR}/initramfs.cpio"
# How many times longer than on the stock kernel anything may take. The checkers look at every access to memory, and the
# processor is an emulated one.
SLOWDOWN = {"stock": 1}.get(FLAVOUR, 5)
SIM = "/src/out/mooring-sim"
# A system whose programs the guest may run; it mounts this by 9p.
CLIENTS = pathlib.Path("/run/clients/usr")
# The answer of the trial belongs to this host and this version of the kernel; /build outlives every run.
ACCEL_ANSWER = pathlib.Path("/build/accel")
# A disk that the tests have; it takes no more room than what is written to it.
DISK_BYTES = 64 << 20
TRIAL_SECONDS = 20 * SLOWDOWN
# How long a guest may take to its first line of output: some ten times what it takes on a machine that has nothing else to do.
BOOT_SECONDS = 120 * SLOWDOWN
# The machine's own IOMMU, and the words with which the kernel uses it so.
PLATFORM_IOMMU = {
    "off": [],
    "strict": ["intel_iommu=on", "iommu.strict=1"],
    "lazy": ["intel_iommu=on", "iommu.strict=0"],
}


class SetupError(Exception):
    """Something that the VM needs is missing; the text says what to do."""


def lines_until(stream, deadline):
    """Yields the lines of an unbuffered byte stream until it ends, the deadline passes, or a boot takes too long to be one: a
    guest's program says something as it begins."""
    rest = b""
    until = min(deadline, time.monotonic() + BOOT_SECONDS)
    while (remaining := until - time.monotonic()) > 0:
        if not select.select([stream], [], [], remaining)[0]:
            return
        until = deadline
        data = os.read(stream.fileno(), 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r").decode(errors="replace")


class Machine:
    """A context: entering starts the models and QEMU, leaving ends what still runs."""

    def __init__(self, *, cards, accel, memory, cpus, program, platform_iommu, append, qemu_args, logs, sockets, slot=None, initramfs=INITRAMFS):
        self.cards = cards
        # Arguments to the model of a card that is not there at first: the guest asks for it to be plugged in, see slot().
        self.slot_card = slot
        self.accel = accel
        self.memory = memory
        self.cpus = cpus
        self.program = program
        self.platform_iommu = platform_iommu
        self.append = append
        self.qemu_args = qemu_args
        self.logs = logs
        self.sockets = sockets
        self.initramfs = initramfs
        self.interactive = program == "shell"

    def __enter__(self):
        # A machine can be started again after it has ended.
        self.problems, self.models, self.process = [], [], None
        for needed in KERNEL, self.initramfs:
            if not os.path.exists(needed):
                raise SetupError(f"{needed} is missing. Run: make guest; and run this in the build root: scripts/enter scripts/vm")
        try:
            for number, arguments in enumerate([*self.cards, *([self.slot_card] if self.slot_card else [])]):
                self._start_model(number, arguments)
            self._start_qemu()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            self._end(self.process)
        for number, model in enumerate(self.models):
            # A model serves until it is stopped; one that ended by itself has crashed.
            if model.poll() is not None:
                self.problems.append(f"the model of card {number} ended with code {model.returncode}; see sim{number}.log")
            self._end(model)

    @staticmethod
    def _end(process):
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def output(self):
        return self.process.stdout

    def wait_for_power_off(self, seconds):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.problems.append(f"the guest did not power off within {seconds} s")

    def _socket(self, number):
        return self.sockets / f"card{number}"

    def _qmp_socket(self):
        return self.sockets / "qmp"

    def _device(self, number):
        # QEMU gives a model 5 s to answer by default, which is little on a busy machine.
        return {"driver": "vfio-user-pci", "id": f"card{number}", "socket": {"type": "unix", "path": str(self._socket(number))}, "x-msg-timeout": 30000}

    def slot(self, word):
        """Plugs the card of the slot in, or asks the guest to let it go, as the attention button does: plug or unplug."""
        number = len(self.cards)
        commands = {
            "plug": ("device_add", self._device(number) | {"bus": "hotplug0"}),
            "unplug": ("device_del", {"id": f"card{number}"}),
        }
        command, arguments = commands[word]
        deadline = time.monotonic() + 20 * SLOWDOWN
        # A model has one client at a time. QEMU lets an unplugged card go a little after it has said so, and not while it waits for
        # an answer to the connection of the next one: it would wait for itself.
        while word == "plug" and self._has_client(number) and time.monotonic() < deadline:
            time.sleep(0.1)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(20 * SLOWDOWN)
            client.connect(str(self._qmp_socket()))
            with client.makefile("rw") as monitor:
                self._ask(monitor, "qmp_capabilities", {})
                # The guest is done with a card that was unplugged before the machine is.
                while (error := self._ask(monitor, command, arguments)) and "Duplicate" in error and time.monotonic() < deadline:
                    time.sleep(0.1)
        if error:
            self.problems.append(f"QEMU refused to {word} the card: {error}")

    def _has_client(self, number):
        """Whether somebody is connected to a model: its path is there once more, beside the socket that listens."""
        path = str(self._socket(number))
        sockets = pathlib.Path("/proc/net/unix").read_text().splitlines()
        return sum(line.endswith(f" {path}") for line in sockets) > 1

    @staticmethod
    def _ask(monitor, command, arguments):
        """Has QEMU execute a command of its monitor. Returns what it says against it, or None."""
        monitor.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        monitor.flush()
        # The greeting and events come in between.
        answer = next(answer for line in monitor if {"return", "error"} & (answer := json.loads(line)).keys())
        return answer["error"]["desc"] if "error" in answer else None

    def _start_model(self, number, arguments):
        log_path = self.logs / f"sim{number}.log"
        path = self._socket(number)
        path.unlink(missing_ok=True)
        self._make_disks(arguments)
        with open(log_path, "w") as log:
            model = subprocess.Popen(
                [SIM, "--socket", str(path), *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.logs, start_new_session=True,
            )
        self.models.append(model)
        deadline = time.monotonic() + 10
        while not path.exists():
            if model.poll() is not None or time.monotonic() > deadline:
                said = log_path.read_text(errors="replace")[-2000:]
                raise SetupError(f"mooring-sim {' '.join(arguments)} did not open its socket; it said:\n{said}")
            time.sleep(0.01)

    def _make_disks(self, arguments):
        """Makes the disks of a card that lie among the logs, empty ones each time."""
        for option, value in zip(arguments, arguments[1:]):
            name = value.split(",")[0]
            if option == "--disk" and not os.path.isabs(name):
                path = self.logs / name
                path.unlink(missing_ok=True)
                with open(path, "wb") as disk:
                    disk.truncate(DISK_BYTES)

    def _start_qemu(self):
        command = [
            "qemu-system-x86_64", "-nodefaults", "-display", "none", "-no-reboot",
            # Interrupts are remapped only if the kernel's hypervisor leaves the interrupt controllers to QEMU.
            "-M", "q35,kernel-irqchip=split" if self.platform_iommu != "off" else "q35", "-accel", {"tcg": "tcg,thread=multi", "kvm": "kvm"}[self.accel],
            "-cpu", {"tcg": "max", "kvm": "host"}[self.accel], "-smp", str(self.cpus), "-m", self.memory,
            # The model reads and writes guest memory directly, so it must be shareable.
            "-object", f"memory-backend-memfd,id=memory,size={self.memory},share=on", "-numa", "node,memdev=memory",
            "-kernel", KERNEL, "-initrd", self.initramfs, "-append", self._command_line(),
            "-serial", f"file:{self.logs / 'kernel.log'}",
            "-serial", "mon:stdio" if self.interactive else "stdio",
        ]
        if self.platform_iommu != "off":
            # Before the devices behind it. In caching mode the guest tells of every new mapping, which the model needs to see.
            command += ["-device", "intel-iommu,intremap=on,caching-mode=on,aw-bits=48"]
        for number in range(len(self.cards)):
            command += ["-device", json.dumps(self._device(number))]
        if self.slot_card:
            # Hot-plug as on a real board, by the port's own registers, and not by ACPI.
            command += ["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off", "-device", "pcie-root-port,id=hotplug0,chassis=1,slot=1",
                        "-qmp", f"unix:{self._qmp_socket()},server=on,wait=off"]
        # Behind the cards, so that their addresses don't depend on it.
        if CLIENTS.exists():
            command += ["-fsdev", f"local,id=clients,path={CLIENTS},security_model=none,readonly=on", "-device", "virtio-9p-pci,fsdev=clients,mount_tag=clients"]
        command += self.qemu_args
        (self.logs / "qemu.cmd").write_text(" ".join(command) + "\n")
        with open(self.logs / "qemu.log", "w") as log:
            pipes = {} if self.interactive else {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "bufsize": 0}
            # In a session of its own, an interrupt at the terminal reaches only the runner, which then cleans up.
            self.process = subprocess.Popen(command, stderr=log, start_new_session=not self.interactive, **pipes)

    def _command_line(self):
        words = ["console=ttyS0", "panic=-1", "oops=panic", "tsc=reliable" if self.accel == "kvm" else "no_timer_check",
                 f"mooring.run={self.program}", f"mooring.slowdown={SLOWDOWN}", f"mooring.platform_iommu={self.platform_iommu}"]
        words += PLATFORM_IOMMU[self.platform_iommu]
        if FLAVOUR != "stock":
            # Unit tests run when their module is loaded. A lockup is one only after longer than on a real processor.
            words += ["kunit.enable=1", "kunit.autorun=1", "watchdog_thresh=30", "workqueue.watchdog_thresh=120"]
        if FLAVOUR == "debug":
            # Each test is to see its own reports, and not only the first one after boot. With five levels of page tables,
            # KASAN takes every access for a wild one if an interrupt comes while the boot processor's features are being
            # identified: its idea of the address space depends on one of them.
            words += ["kasan_multi_shot", "no5lvl"]
            # The allocator's caches of single objects keep stale pointers, which kmemleak takes for references: a leak of one
            # object would go unseen. There are none where the allocator's consistency is checked.
            words.append("slab_debug=F")
        if self.interactive and sys.stdout.isatty():
            size = os.get_terminal_size()
            words += [f"mooring.rows={size.lines}", f"mooring.columns={size.columns}"]
        return " ".join(words + [self.append]).strip()


def choose_accelerator(wanted):
    """KVM can be there and yet not run a stock guest: only a bounded trial boot tells."""
    if wanted != "auto":
        return wanted
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    # The flavour makes no difference.
    version = re.match(r"[0-9.]*", os.environ["KERNEL_RELEASE"])[0]
    key = f"{os.uname().release} {version}"
    if ACCEL_ANSWER.exists():
        known_key, _, answer = ACCEL_ANSWER.read_text().strip().rpartition(" ")
        if known_key == key:
            return answer
    print(f"# Trying KVM once (at most {TRIAL_SECONDS} s) ...", file=sys.stderr, flush=True)
    answer = "kvm" if _trial_boot() else "tcg"
    ACCEL_ANSWER.write_text(f"{key} {answer}\n")
    return answer


def _trial_boot():
    logs = pathlib.Path("/src/out/logs/kvm-trial")
    logs.mkdir(parents=True, exist_ok=True)
    machine = Machine(cards=[], accel="kvm", memory="512M", cpus=2, program="/bin/true", platform_iommu="off", append="", qemu_args=[],
                      logs=logs, sockets=logs)
    deadline = time.monotonic() + TRIAL_SECONDS
    with machine:
        while time.monotonic() < deadline:
            if "# mooring-vm: exit 0" in lines_until(machine.output, time.monotonic() + 0.5):
                return True
            # QEMU stays, stopped, when KVM meets an instruction that it cannot run.
            if machine.process.poll() is not None or "KVM internal error" in (logs / "qemu.log").read_text():
                return False
    return False
