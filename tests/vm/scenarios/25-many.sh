# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Many devices on one card: each has address spaces of its own, all work, and they go in any order. A card without an IOMMU
# has one device, so that there are as many as cards on the cable.

case $IOMMU in
    none) COUNT=2 PLACES="first:1 last:2" ;;
    *) COUNT=70 PLACES="first:1 middle:35 last:70" ;;
esac

# card_of NUMBER prints the card of that device.
card_of() {
    case $1 in
        1) echo "$NETWORK" ;;
        *) echo "$NETWORK2" ;;
    esac
}

# reach FROM ADDRESS... fails unless the namespace reaches the addresses.
reach() {
    from=$1
    shift
    for address; do
        ip netns exec "$from" ping -q -c 2 -i 0.2 -w "$(limit 20)" "$address"
    done
}

# all_reach_each_other fails unless the first, the last and, if there is one, the middle device do.
all_reach_each_other() {
    reach first 10.9.1.$COUNT
    reach last 10.9.1.1
    ! translates || reach middle 10.9.1.1 10.9.1.$COUNT
}

test_seventy_devices_fit_on_a_card() {
    for number in $(seq $COUNT); do
        # Of their own choice two cards would have the same addresses.
        add "many$number" "$(card_of "$number")" mac "02:00:00:00:09:$(printf %02x "$number")"
    done
    same "devices" "$(vdpa dev show | wc -l)" $COUNT
    if ! translates; then
        # No card takes a second one, however often it is asked.
        for handle in "$NETWORK" "$NETWORK2" "$NETWORK"; do
            one_device "$handle"
        done
        same "devices" "$(vdpa dev show | wc -l)" $COUNT
        return
    fi
    spaces=$(cat "$DEBUGFS"/many*/address_spaces | sed -n 's/.* card=\([0-9]*\) .*/\1/p' | sort -u | wc -l)
    same "different address spaces" "$spaces" $((3 * COUNT))
}

test_the_first_the_middle_and_the_last_reach_each_other() {
    for place in $PLACES; do
        bind "many${place#*:}" virtio_vdpa
        interface_in "many${place#*:}" "${place%:*}" "10.9.1.${place#*:}/24"
    done
    all_reach_each_other
}

test_they_still_do_when_all_others_are_deleted() {
    # The odd ones from the front, then the even ones from the back; none where the first and the last are all.
    for number in $(seq 3 2 $COUNT) $(seq $COUNT -2 2); do
        case " $PLACES " in
            *":$number "*) ;;
            *) vdpa dev del "many$number" ;;
        esac
    done
    same "devices that are left" "$(vdpa dev show | wc -l)" "$(echo "$PLACES" | wc -w)"
    all_reach_each_other
}

test_nothing_is_left_in_the_end() {
    for place in $PLACES; do
        ip netns del "${place%:*}"
        home "many${place#*:}"
        vdpa dev del "many${place#*:}"
    done
    same "devices that are left" "$(vdpa dev show)" ""
    same "folders that are left" "$(ls "$DEBUGFS")" ""
    # The card gives the lowest numbers that are free.
    add again "$NETWORK"
    if translates; then
        same "the spaces of the next device" "$(field again 0 card) $(field again 1 card) $(field again 2 card)" "0 1 2"
    else
        has_space again 0 none
    fi
    vdpa dev del again
}
