# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Many devices on one card: each has address spaces of its own, all work, and they go in any order.

COUNT=70

# reach FROM ADDRESS... fails unless the namespace reaches the addresses.
reach() {
    from=$1
    shift
    for address; do
        ip netns exec "$from" ping -q -c 2 -i 0.2 -w "$(limit 20)" "$address"
    done
}

# all_reach_each_other fails unless the first, the middle and the last device do.
all_reach_each_other() {
    reach first 10.9.1.2 10.9.1.3
    reach middle 10.9.1.1 10.9.1.3
    reach last 10.9.1.1 10.9.1.2
}

test_seventy_devices_fit_on_a_card() {
    for number in $(seq $COUNT); do
        add "many$number" "$NETWORK"
    done
    same "devices" "$(vdpa dev show | wc -l)" $COUNT
    spaces=$(cat "$DEBUGFS"/many*/address_spaces | sed -n 's/.* card=\([0-9]*\) .*/\1/p' | sort -u | wc -l)
    same "different address spaces" "$spaces" $((3 * COUNT))
}

test_the_first_the_middle_and_the_last_reach_each_other() {
    address=0
    for place in first:1 middle:35 last:$COUNT; do
        address=$((address + 1))
        bind "many${place#*:}" virtio_vdpa
        interface_in "many${place#*:}" "${place%:*}" 10.9.1.$address/24
    done
    all_reach_each_other
}

test_they_still_do_when_all_others_are_deleted() {
    # The odd ones from the front, then the even ones from the back.
    for number in $(seq 3 2 $COUNT) $(seq $COUNT -2 2); do
        case $number in
            1 | 35 | "$COUNT") ;;
            *) vdpa dev del "many$number" ;;
        esac
    done
    same "devices that are left" "$(vdpa dev show | wc -l)" 3
    all_reach_each_other
}

test_nothing_is_left_in_the_end() {
    for place in middle:35 first:1 last:$COUNT; do
        ip netns del "${place%:*}"
        home "many${place#*:}"
        vdpa dev del "many${place#*:}"
    done
    same "devices that are left" "$(vdpa dev show)" ""
    same "folders that are left" "$(ls "$DEBUGFS")" ""
    # The card gives the lowest numbers that are free.
    add again "$NETWORK"
    same "the spaces of the next device" "$(field again 0 card) $(field again 1 card) $(field again 2 card)" "0 1 2"
    vdpa dev del again
}
