# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Kernels: stock
#
# A card is plugged into a slot and out again by the slot's button, with its device open and at work, too. Not on the debug
# kernel: pciehp itself takes reset_lock and pci_rescan_remove_lock in both orders, whatever is plugged in, and after that report
# lockdep looks at nothing any more.

# shellcheck source=tests/vm/states.sh
. /tests/states.sh

# functions prints how many functions the driver has.
functions() { find "$PCI" -name '0000:*' | wc -l; }

# slot WORD has the machine plug the slot's card in or ask for it back; the runner listens.
slot() { echo "# mooring-vm: $1" >/dev/ttyS1; }

one_more() { [ "$(functions)" -gt "$before" ]; }

plugged() {
    before=$(functions)
    find $PCI/ -name '0000:*' >"$WORK/functions"
    slot plug
    within 20 one_more
    CARD=pci/$(find $PCI/ -name '0000:*' | grep -v -x -F -f "$WORK/functions" | sed 's,.*/,,')
}

unplugged() { [ ! -e "/sys/bus/pci/devices/${CARD#pci/}" ]; }

test_card_is_plugged_in_and_out() {
    plugged
    device
    vdpa dev del life
    slot unplug
    within 20 unplugged
    ! vdpa mgmtdev show | grep -q "$CARD" || fail "the management device is left"
}

test_card_is_unplugged_under_an_open_file() {
    # Each takes seconds. What the kernel does with the function is what it does when the function is removed.
    for state in idle loaded; do
        plugged
        device
        bring "$state" life
        slot unplug
        # The port waits for five, whether the button is pressed once more, and gives the driver time to let go then.
        sleep 7
        ! unplugged || fail "$state: it did not wait for the open file"
        release
        within 20 unplugged
        [ ! -e "$VDPA/devices/life" ] || fail "$state: the device is still there"
        echo "$state: ok"
    done
}
