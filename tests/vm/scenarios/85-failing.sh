# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Cards that fail while they are in use: one that stops answering commands, one that is pulled out. Each must end in a
# clear line, errors instead of waits, and a driver that lets go of everything.

HUNG=pci/$(card 6)
GONE=pci/$(card 7)

# exhaust NAME asks the card for its counters, a command each time, until the card fails. $took is then how many seconds
# the answer took that told so.
exhaust() {
    tries=0
    begin=$(date +%s)
    until grep -q '^error=Dead' "$DEBUGFS/$1/statistics"; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the card does not fail"
        begin=$(date +%s)
    done
    took=$(($(date +%s) - begin))
}

# virtio_status NAME prints what the kernel reads as status of a device on virtio_vdpa.
virtio_status() { cat "/sys/class/net/$(interface "$1")/device/status"; }

# prompt SECONDS COMMAND... fails unless the command, whatever it returns, comes back in time.
prompt() {
    begin=$(date +%s)
    seconds=$(limit "$1")
    shift
    "$@" >/dev/null 2>&1 || true
    [ $(($(date +%s) - begin)) -le "$seconds" ] || fail "it took more than $seconds s: $*"
}

# is_dead NAME HANDLE fails unless every operation on the device and its card is refused at once, and nothing hangs.
is_dead() {
    same "the card's counters" "$(cat "$DEBUGFS/$1/statistics")" "error=Dead"
    # A device too many is refused before the card is asked.
    if translates; then refused "Input/output error" add late "$2"; else one_device "$2"; fi
    prompt 2 cat "$DEBUGFS/$1/address_spaces"
    prompt 2 vdpa dev config show "$1"
}

test_card_that_hangs_is_given_up() {
    add h0 "$HUNG"
    bind h0 vhost_vdpa
    hold h0 --frames 0
    expect_log "${HUNG#pci/}: card failed: it did not complete a command in time"
    # When the process is gone, what it mapped can't be unmapped by a command any more.
    allow_log 'could not be put back to 1:1|address space 0 could not be updated'
    exhaust h0
    is_dead h0 "$HUNG"
    # The holder ends with this test, and its close cannot reach the card.
    allow_log 'could not be put back to 1:1|address space 0 could not be updated'
}

test_device_of_a_hung_card_is_deleted() {
    # The process of the test before has ended by now, or ends soon.
    allow_log 'could not be put back to 1:1|address space 0 could not be updated'
    prompt 5 vdpa dev del h0
    same "devices that are left" "$(vdpa dev show)" ""
}

test_hung_card_works_again_after_a_rebind() {
    echo "${HUNG#pci/}" >/sys/bus/pci/drivers/mooring_vdpa/unbind
    echo "${HUNG#pci/}" >/sys/bus/pci/drivers/mooring_vdpa/bind
    add h0 "$HUNG"
    has_space h0 0 "$DEFAULT_MODE"
    vdpa dev del h0
}

test_card_that_is_pulled_out_ends_every_wait() {
    add g0 "$GONE"
    bind g0 virtio_vdpa
    within 10 has_interface g0
    same "the status before" "$(virtio_status g0)" 0x0000000f
    expect_log "${GONE#pci/}: card failed: it does not answer register reads"
    exhaust g0
    # The command timeout of 10 s is not waited for.
    [ "$took" -le 8 ] || fail "it took $took s to see that the card is gone"
    same "the status after, with NEEDS_RESET" "$(virtio_status g0)" 0x0000004f
    is_dead g0 "$GONE"
}

test_driver_lets_go_of_a_card_that_is_pulled_out() {
    prompt 5 vdpa dev del g0
    same "devices that are left" "$(vdpa dev show)" ""
    expect_log "${GONE#pci/}: BAR 0 reads 0xffffffff.*the card does not answer"
    echo "${GONE#pci/}" >/sys/bus/pci/drivers/mooring_vdpa/unbind
    if echo "${GONE#pci/}" 2>/dev/null >/sys/bus/pci/drivers/mooring_vdpa/bind; then
        fail "a card that is not there was bound"
    fi
}

test_other_cards_never_noticed() {
    add ok0 "$LOOP"
    bind ok0 vhost_vdpa
    client loopback ok0 --frames 64
    vdpa dev del ok0
}
