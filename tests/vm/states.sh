# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# The states that a process can have brought a device to. Sourced by the scenarios that take devices away from it.

# What a process has done with the device, in words for hold(): opened it, started it, reset it again, suspended it, had it fail,
# keeps it busy.
# shellcheck disable=SC2034 # used by the scenarios
STATES="idle running reset suspended failed loaded"
PCI=/sys/bus/pci/drivers/mooring_vdpa

# bring STATE NAME has a process open the device and bring it to that state.
bring() {
    case $1 in
        idle) hold "$2" --idle ;;
        *) hold "$2" --allow-trouble --abandon ;;
    esac
    case $1 in
        reset) answers reset "reset: status 0x0" ;;
        suspended) answers suspend "suspend: ok" ;;
        failed)
            allow_log "IOMMU fault|queue [0-9]+ stopped"
            answers fault "fault: status 0x4f"
            ;;
        loaded) answers load "load: 16 of 16" ;;
    esac
}

# answers WORD LINE asks the holder, and waits for that answer.
answers() {
    echo "$1" >&9
    within 20 grep -q -x "$2" "$WORK/hold-output"
}

# device makes the device unless it is there, and works: frames come back, or a disk keeps what is written.
device() {
    ensure life "$CARD"
    case $CARD in
        "$BLK") works="block life --requests 4" ;;
        *) works="loopback life --frames 16" ;;
    esac
    # shellcheck disable=SC2086 # words
    client $works >"$WORK/works" || fail "$(cat "$WORK/works")"
}
