# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# The KUnit tests in drivers/kunit, on kernels that have KUnit. Sourced by `run`, after harness.sh.

KUNIT=/sys/kernel/debug/kunit

# Those that scripts/kernel/ describes have it.
has_kunit() { uname -r | grep -q -e '-mooring-'; }

# run_kunit loads the module, which runs its suites, and reports them as subtests of one test.
run_kunit() {
    passed=yes
    begin_log kunit
    allow_log 'loading out-of-tree module taints kernel'
    # What the driver says of the tests' card and devices, which fail on purpose.
    allow_log 'mooring-kunit: |vdpa kunit-'
    # The kernel's Rust crate has no other one yet.
    allow_log 'enqueued on deprecated workqueue'
    modprobe mooring_vdpa_kunit >>"$WORK/output" 2>&1 || true
    suites=$(find $KUNIT -name 'mooring_*' | sort)
    echo "    KTAP version 1"
    echo "    # Subtest: kunit"
    echo "    1..$(echo "$suites" | grep -c .)"
    number=0
    for suite in $suites; do
        number=$((number + 1))
        # The first two lines and the last one belong to a list of this suite alone.
        sed "1,2d; s/^ok 1/ok $number/; s/^not ok 1/not ok $number/; s/^/    /" "$suite/results"
        grep -q '^ok 1 ' "$suite/results" || passed=no
    done
    [ $number != 0 ] || echo "no suite has run" >>"$WORK/output"
    # Not modprobe, which would unload vdpa as well, see unload_bus_driver.
    rmmod mooring_vdpa_kunit || passed=no
    if [ -e $KMEMLEAK ]; then
        find_leaks || echo "the leak detector is off" >>"$WORK/output"
        cp "$WORK/leaks" "$WORK/lost"
        report_lost || true
    fi
    scenario_checked
    [ $passed = yes ]
}
