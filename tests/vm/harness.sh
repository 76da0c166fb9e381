# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Runs the tests of a scenario, reports them as KTAP, and holds each to what the kernel says meanwhile: in its log, and by
# its leak detector where it has one. Sourced by `run`, after lib.sh.

# Seconds after which a test has failed. Everything in a test has shorter limits of its own; this one is for what the
# kernel does not give back.
TEST_LIMIT=${TEST_LIMIT:-$(limit 150)}

# How often to look whether a test has ended, in seconds. Each look costs a process, and a slow kernel has better things
# to do.
TEST_LOOK=0.1
[ "$SLOWDOWN" = 1 ] || TEST_LOOK=0.5

KMEMLEAK=/sys/kernel/debug/kmemleak
# kmemleak reports nothing that was younger than 5 s when its scan began (MSECS_MIN_AGE in mm/kmemleak.c).
LEAK_AGE=6

# ---- The kernel's log ----

# begin_log NAME begins to look at the kernel's log for a test, or for what happens between tests.
begin_log() {
    # A pattern that no line has, because an empty list of patterns would match nothing or everything.
    echo 'a^' >"$WORK/allowed"
    : >"$WORK/expected"
    : >"$WORK/output"
    # What the kernel reports only once is to be reported to each test.
    [ ! -e /sys/kernel/debug/clear_warn_once ] || echo 1 >/sys/kernel/debug/clear_warn_once
    echo "mooring-test: begin $1" >/dev/kmsg
}

# check_log adds to $WORK/output lines of the kernel's log that were not announced, and announcements that did not come
# true; fails if there is anything. It looks at all lines since it was called the last time.
check_log() {
    from="mooring-test: looked $looks"
    looks=$((looks + 1))
    echo "mooring-test: looked $looks" >/dev/kmsg
    # With their levels. Should the log have grown over the first marker, everything counts.
    dmesg -r | awk -v from="$from\$" -v to="mooring-test: looked $looks\$" '
        $0 ~ from { n = 0; next } $0 ~ to { exit } { lines[++n] = $0 }
        END { for (i = 1; i <= n; i++) print lines[i] }' | awk -f /tests/kcsan.awk >"$WORK/log"
    # Errors of anybody, warnings of the driver, and what the kernel reports of itself at any level.
    grep -E -e '^<[0-3]>|^<4>.*mooring' -f /tests/kernel-trouble "$WORK/log" | grep -v -E -f "$WORK/allowed" >"$WORK/trouble"
    while read -r pattern; do
        grep -q -E "$pattern" "$WORK/log" || echo "expected and not there: $pattern" >>"$WORK/trouble"
    done <"$WORK/expected"
    [ -s "$WORK/trouble" ] || return 0
    {
        echo "in the kernel's log:"
        cat "$WORK/trouble"
        # A report is more than the line that gives it away.
        if grep -q -E -f /tests/kernel-trouble "$WORK/trouble"; then
            echo "all that the kernel said:"
            grep -v 'kobject_release, parent' "$WORK/log" | head -n 1000
        fi
    } >>"$WORK/output"
    return 1
}

looks=0
echo "mooring-test: looked 0" >/dev/kmsg

# ---- The kernel's checkers ----

# checkers_off prints the checkers that this kernel has and that have switched themselves off: lockdep does so after its
# first report, the others when their memory runs out.
checkers_off() {
    if [ -e /proc/lockdep_stats ] && ! grep -q 'debug_locks: *1' /proc/lockdep_stats; then
        echo lockdep
    fi
    case $(cat /sys/kernel/debug/dma-api/disabled 2>/dev/null) in
        ''|N) ;;
        *) echo DMA-API ;;
    esac
    if [ -e $KMEMLEAK ] && dmesg | grep -q 'kmemleak: .*disabled'; then
        echo kmemleak
    fi
}

# jiffies prints the kernel's time, which a leak's report tells of its allocation.
jiffies() { sed -n '/^jiffies: /{s///p;q}' /proc/timer_list; }

# find_leaks writes to $WORK/leaks a report for each allocation that nothing refers to any more, once. Fails if the leak
# detector has been switched off.
find_leaks() {
    end=$(($(date +%s) + LEAK_AGE))
    # The first scan takes a checksum of what nothing refers to; the second one reports it if that is still so.
    echo scan >$KMEMLEAK || return 1
    while [ "$(date +%s)" -lt $end ]; do
        sleep 1
    done
    echo scan >$KMEMLEAK || return 1
    cat $KMEMLEAK >"$WORK/leaks"
    echo clear >$KMEMLEAK
}

# leaks FROM TO prints the reports of allocations that were made between these jiffies.
leaks() {
    awk -v from="$1" -v to="$2" '
        /^unreferenced object/ { head = $0; wanted = 0; next }
        head != "" { match($0, /jiffies [0-9]+/); at = substr($0, RSTART + 8, RLENGTH - 8) + 0
            if (at >= from + 0 && at < to + 0) { wanted = 1; print head }
            head = "" }
        wanted { print }' "$WORK/leaks"
}

# ---- Running tests ----

# run_scenario NAME runs every function test_* of a scenario, in the order of the file, as a KTAP subtest, from a loaded
# driver without devices to the same. Where leaks are looked for, that is done once for the whole scenario, because it
# takes long; each is laid to the test in which the memory was allocated, and the results wait for that.
run_scenario() {
    file=/tests/scenarios/$1.sh
    names=$(sed -n 's/^\(test_[a-z0-9_]*\)() .*/\1/p' "$file")
    passed=yes
    rm -rf "$WORK/results"
    mkdir "$WORK/results"
    echo "    KTAP version 1"
    echo "    # Subtest: $1"
    echo "    1..$(echo "$names" | wc -l)"

    begin_log "the beginning of $1"
    # The first scenario looks at how the driver is loaded; the others need it loaded.
    [ "$1" = 10-lifecycle ] || load >>"$WORK/output" 2>&1
    scenario_checked

    number=0
    for name in $names; do
        number=$((number + 1))
        result=$WORK/results/$number
        [ ! -e $KMEMLEAK ] || jiffies >"$result.begin"
        if run_test "$name" "$file"; then
            echo ok >"$result.status"
        else
            echo "not ok" >"$result.status"
            passed=no
            # At once, because the next test may be the end of the kernel.
            sed 's/^/    # /' "$WORK/output"
        fi
        if [ -e $KMEMLEAK ]; then
            echo "    # $(cat "$result.status") so far: $(title "$name")"
        else
            report_test "$name"
        fi
    done

    [ ! -e $KMEMLEAK ] || jiffies >"$WORK/results/$((number + 1)).begin"
    begin_log "the end of $1"
    clean_up >/dev/null 2>&1
    if [ -e $KMEMLEAK ]; then
        find_leaks || echo "the leak detector is off" >>"$WORK/output"
    fi
    scenario_checked
    if [ -e $KMEMLEAK ]; then
        number=0
        for name in $names; do
            number=$((number + 1))
            lay_leaks_to_test
            report_test "$name"
        done
        # What the scenario's end has lost.
        leaks "$(cat "$WORK/results/$((number + 1)).begin")" 1e30 >"$WORK/lost"
        report_lost
    fi
    [ $passed = yes ]
}

# scenario_checked looks at the log after what is the scenario's own and no test's.
scenario_checked() {
    check_log || true
    [ -s "$WORK/output" ] || return 0
    sed 's/^/# /' "$WORK/output"
    passed=no
}

title() { echo "${1#test_}" | tr _ ' '; }

# report_test NAME prints the result of test $number.
report_test() { echo "    $(cat "$WORK/results/$number.status") $number $(title "$1")"; }

# lay_leaks_to_test makes test $number fail if it has allocated what was lost.
lay_leaks_to_test() {
    from=$(cat "$WORK/results/$number.begin")
    # What is older was allocated before this scenario, and lost in it.
    [ $number -gt 1 ] || from=0
    leaks "$from" "$(cat "$WORK/results/$((number + 1)).begin")" >"$WORK/lost"
    report_lost || echo "not ok" >"$WORK/results/$number.status"
}

# report_lost prints the leaks in $WORK/lost, and fails if there are any.
report_lost() {
    [ -s "$WORK/lost" ] || return 0
    echo "    # memory leaked:"
    sed 's/^/    # /' "$WORK/lost"
    passed=no
    return 1
}

# run_test NAME FILE
run_test() {
    begin_log "$1"
    begin=$(date +%s)
    # In a process of its own, with its children in the same group, so that a hanging one can be left behind.
    setsid sh -eu -c ". /tests/lib.sh; . '$2'; $1" >"$WORK/output" 2>&1 &
    test=$!
    while kill -0 $test 2>/dev/null; do
        if [ $(($(date +%s) - begin)) -ge "$TEST_LIMIT" ]; then
            echo "stopped after $TEST_LIMIT s; its processes:" >>"$WORK/output"
            # The kernel's own threads have their names in brackets.
            ps -o pid,stat,args | sed '/\[.*\]$/d' >>"$WORK/output"
            kill -9 -$test
            check_log
            return 1
        fi
        sleep "$TEST_LOOK"
    done
    status=0
    wait $test || status=$?
    check_log || status=1
    return $status
}
