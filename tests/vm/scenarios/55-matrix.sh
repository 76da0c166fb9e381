# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What stays mapped: every row of the table in docs/reset-matrix.md that is about this machine's cards happens here, and is
# compared with what card and kernel say. The columns are described there.

MATRIX=/tests/reset-matrix.md
EVENTS="reset busy-reset close kill delete swap suspend"

# Where the first owner maps its memory: the second one's experiment gives the device an address in it.
PLACE=0x11300000

# rows [EVENT] prints the rows of the table about this kind of card, as fields with | between them and around.
rows() {
    grep "^| $IOMMU |" "$MATRIX" | sed 's/ *| */|/g' | awk -F'|' -v event="${1-}" 'event == "" || $5 == event'
}

# ---- The device m0, its owner, and the witness m1 on the same card ----

# add_m0 adds the device, of type $kind.
add_m0() {
    case $kind in
        net) add m0 "$LOOP" mac 02:00:00:00:03:00 ;;
        block) add m0 "$BLK" ;;
    esac
}

# its_card prints the management device for network devices of the card that m0 is on.
its_card() { if [ "$kind" = net ]; then echo "$LOOP"; else echo "pci/$DISKS"; fi; }

# fresh_device has both devices there, nobody having m0. A card without an IOMMU has one device, and no IOMMU commands that a
# witness could tell of.
fresh_device() {
    ! translates || ensure m1 "$(its_card)"
    [ -e "$VDPA/devices/m0" ] || add_m0
    [ ! -e "$VDPA/devices/m0/driver" ] || echo m0 >"$VDPA/devices/m0/driver/unbind"
}

# content prints all that says what m0's space 0 translates.
content() {
    for name in mode generation extents bytes digest expected_digest; do
        field m0 0 $name
    done
}

card_commands() { if translates; then field m1 0 card_commands; else echo 0; fi; }

# own gives the device to the owner of the row, who puts it to work.
own() {
    case $owner in
        virtio_vdpa)
            bind m0 virtio_vdpa
            interface_up
            ;;
        vhost_vdpa)
            bind m0 vhost_vdpa
            persist_option=
            [ "$persist" = no ] || persist_option=--persist
            # shellcheck disable=SC2086 # no word if there is no option
            hold m0 --iova $PLACE --abandon $persist_option
            ;;
    esac
}

interface_up() {
    within 10 has_interface m0
    net=$(interface m0)
    # No frames but those of the test.
    sysctl -q -w "net.ipv6.conf.$net.disable_ipv6=1"
    ip addr add 10.9.3.1/24 dev "$net"
    ip link set "$net" up
}

# virtio_device prints the name of the virtio device behind m0's interface.
virtio_device() { basename "$(readlink "/sys/class/net/$(interface m0)/device")"; }

# send_frames sends frames out of the interface, until it is gone; they come back and are dropped.
send_frames() {
    ip neigh add 10.9.3.2 lladdr 02:00:00:00:03:02 dev "$net"
    before_frames=$(statistic m0 tx_frames)
    ping -q -i 0.002 -c 100000 10.9.3.2 >/dev/null 2>&1 &
    within 10 frames_flow
}

frames_flow() { [ "$(statistic m0 tx_frames)" -gt $((before_frames + 50)) ]; }

# ask WORD has the holder do something; $said is then what it answers.
ask() {
    echo "$1" >&9
    within 30 grep -q -E "^$1: |^ERROR" "$WORK/hold-output"
    said=$(sed -n "s/^$1: //p; s/^ERROR/&/p" "$WORK/hold-output")
}

# ---- What happens ----

# happen_OWNER EVENT has it happen; $answer is then what is told, and $held whether the owner still has the device.
happen_virtio_vdpa() {
    answer=ok
    held=yes
    case $1 in
        busy-reset)
            send_frames
            reset_by_virtio_net
            ;;
        reset) reset_by_virtio_net ;;
        close)
            echo m0 >"$VDPA/drivers/virtio_vdpa/unbind"
            held=no
            ;;
        delete)
            vdpa dev del m0
            held=no
            ;;
        swap)
            bind m0 vhost_vdpa
            held=no
            ;;
        *) fail "what is $1?" ;;
    esac
}

reset_by_virtio_net() {
    virtio=$(virtio_device)
    echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/unbind
}

happen_vhost_vdpa() {
    held=no
    answer=ok
    case $1 in
        reset|busy-reset|suspend)
            ask "$1"
            answer=$said
            held=yes
            ;;
        close) release ;;
        kill)
            kill_holder
            exec 9>&-
            within 10 sh -c "! grep -q mode=translated $DEBUGFS/m0/address_spaces"
            ;;
        delete) wait_for_close vdpa dev del m0 ;;
        swap) wait_for_close sh -c "echo m0 >$VDPA/drivers/vhost_vdpa/unbind" ;;
        *) fail "what is $1?" ;;
    esac
}

# wait_for_close COMMAND... carries out a command that has to wait until the process closes the device.
wait_for_close() {
    "$@" >"$WORK/background" 2>&1 9>&- &
    background=$!
    sleep 1
    kill -0 $background 2>/dev/null && answer=waits
    release
    within 30 sh -c "! kill -0 $background 2>/dev/null"
    wait $background || fail "$* failed: $(cat "$WORK/background")"
}

# goes_on fails unless the owner works on the map that is there.
goes_on() {
    case $owner in
        virtio_vdpa)
            [ -z "${virtio-}" ] || echo "$virtio" >/sys/bus/virtio/drivers/virtio_net/bind
            interface_up
            send_frames
            echo m0 >"$VDPA/drivers/virtio_vdpa/unbind"
            ;;
        vhost_vdpa)
            ask frames
            same "$case: frames afterwards" "$said" "16 of 16"
            release
            ;;
    esac
}

# works_for_the_kernel fails unless the device works on virtio_vdpa.
works_for_the_kernel() {
    bind m0 virtio_vdpa
    interface_up
    send_frames
}

# starts_clean fails if the next owner can reach anything of the one before.
starts_clean() {
    allow_log 'device [0-9]+ queue [01] not started: its owner has mapped nothing|m0: device not started: EPERM'
    if [ "$kind" = block ]; then
        allow_log 'queue 0 stopped'
        expect_log "$(refused_access 0 '(read|write)').*11300000"
        [ -e "$VDPA/devices/m0" ] || add_m0
        [ -e "$VDPA/drivers/vhost_vdpa/m0" ] || bind m0 vhost_vdpa
        client bad-blocks m0
        return
    fi
    if translates; then
        allow_log 'IOMMU fault [0-9]+: device [0-9]+ queue 1 .*: read of 100 bytes at 0x11300000|queue 1 stopped'
    else
        # Where such a card starts, its rings are not mapped, and then the buffer.
        allow_log "$(refused_access '[01]' read)"
        expect_log "$(refused_access 1 read)11300000"
    fi
    [ -e "$VDPA/devices/m0" ] || add_m0
    [ -e "$VDPA/drivers/vhost_vdpa/m0" ] || bind m0 vhost_vdpa
    client start-unmapped m0 --variant never
    client fault m0 --kind tx-unmapped
}

# ---- Rows ----

# row carries out a row of the table, whose cells are in $owner to $next, and $persist.
row() {
    case="$IOMMU, $kind, $owner, persist $persist, $event"
    case $wanted_answer in
        "no process"|"no such call")
            same "$case: the other cells" "$mode $map $commands $next" "- - - -"
            return
            ;;
    esac
    virtio=
    fresh_device
    commands_before=$(card_commands)
    own
    maps=$(($(card_commands) - commands_before))
    before=$(content)
    spaces=$(wc -l <"$DEBUGFS/m0/address_spaces")
    wanted_commands=$(($(echo "$commands" | sed "s/maps/$maps/; s/spaces/$spaces/; s/^-$/0/")))
    commands_before=$(card_commands)
    "happen_$owner" "$event"
    same "$case: IOMMU commands" $(($(card_commands) - commands_before)) "$wanted_commands"
    same "$case: the answer" "$answer" "$wanted_answer"
    if [ "$mode" = gone ]; then
        [ ! -e "$VDPA/devices/m0" ] || fail "$case: there is a device"
    elif ! translates; then
        same "$case: the mode" - "$mode"
        has_space m0 0 none
    else
        same "$case: the mode" "$(field m0 0 mode)" "$mode"
        same "$case: card and driver" "$(field m0 0 digest)" "$(field m0 0 expected_digest)"
    fi
    case $map in
        kept) same "$case: the map" "$(content)" "$before" ;;
        0) same "$case: extents and bytes" "$(field m0 0 extents) $(field m0 0 bytes)" "0 0" ;;
        -) ! translates || same "$case: the mode, without a map" "$mode" gone ;;
        *) fail "$case: what is '$map'?" ;;
    esac
    case $next in
        "goes on")
            same "$case: the owner" "$held" yes
            goes_on
            # When it goes at last, nothing is left.
            starts_clean
            ;;
        "starts clean")
            same "$case: the owner" "$held" no
            [ "$owner $event" != "vhost_vdpa swap" ] || works_for_the_kernel
            starts_clean
            ;;
        *) fail "$case: what is '$next'?" ;;
    esac
}

# event EVENT carries out all rows about it; those about a process with a block device, too, where nothing else has to work on
# the disk afterwards.
event() {
    kind=net
    event_of_kind "$1"
    kind=block
    [ "$1" = swap ] || event_of_kind "$1"
}

event_of_kind() {
    rows "$1" >"$WORK/rows"
    # Not from standard input, which the rows' programs would read.
    while IFS='|' read -r _ _ owner wanted_persist event mode map commands wanted_answer next _ <&3; do
        case $kind-$owner-$wanted_persist in
            block-virtio_vdpa-*) continue ;;
            # That is the same code.
            block-*-both) cases=yes ;;
            *-both) cases="yes no" ;;
            *) cases=$wanted_persist ;;
        esac
        for persist in $cases; do
            row
        done
    done 3<"$WORK/rows"
    ! rows "$1" | grep -q . || clean_up
}

test_the_table_has_every_case_once() {
    for card in identity explicit none; do
        IOMMU=$card
        for event in $EVENTS; do
            same "virtio_vdpa, $event" "$(rows "$event" | awk -F'|' '$3 == "virtio_vdpa" { print $4 }')" -
            cases=$(rows "$event" | awk -F'|' '$3 == "vhost_vdpa" { print $4 }' | sort | tr '\n' ' ')
            case $cases in
                "both "|"no yes ") ;;
                *) fail "$card, vhost_vdpa, $event: persist is '$cases'" ;;
            esac
        done
        same "rows about $card with an event that does not exist" \
            "$(rows | awk -F'|' -v events=" $EVENTS " '!index(events, " " $5 " ")')" ""
    done
}

test_this_kind_of_card_is_in_the_table() { rows | grep -q . || fail "$IOMMU is not in the table"; }

test_reset() { event reset; }
test_reset_during_traffic() { event busy-reset; }
test_close() { event close; }
test_death_of_the_process() { event kill; }
test_deletion_of_the_device() { event delete; }
test_change_of_the_bus_driver() { event swap; }
test_suspend() { event suspend; }
