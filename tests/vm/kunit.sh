# shellcheck shell=sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# The KUnit tests in drivers/kunit, on kernels that have KUnit. Sourced by `run`, after harness.sh.

KUNIT=/sys/kernel/debug/kunit

has_kunit() { modinfo mooring_vdpa_kunit >/dev/null 2>&1; }

# run_kunit loads the module, which runs its suites, and reports them as subtests of one test.
run_kunit() {
    : >"$WORK/output"
    number=0
    begin_log kunit
    allow_log 'loading out-of-tree module taints kernel'
    # What the driver says of the tests' card and devices, which fail on purpose.
    allow_log 'mooring-kunit: |vdpa kunit-'
    passed=yes
    modprobe mooring_vdpa_kunit || passed=no
    echo "    KTAP version 1"
    echo "    # Subtest: kunit"
    echo "    1..$(find $KUNIT -name 'mooring_*' | wc -l)"
    for suite in "$KUNIT"/mooring_*; do
        number=$((number + 1))
        # The first two lines and the last one belong to a list of this suite alone.
        sed "1,2d; s/^ok 1/ok $number/; s/^not ok 1/not ok $number/; s/^/    /" "$suite/results"
        ! grep -q '^not ok' "$suite/results" || passed=no
    done
    number=0
    modprobe -r mooring_vdpa_kunit || passed=no
    check_log kunit || passed=no
    if [ -e $KMEMLEAK ]; then
        find_leaks
        if [ -s "$WORK/leaks" ]; then
            { echo "memory leaked:"; cat "$WORK/leaks"; } >>"$WORK/output"
            passed=no
        fi
    fi
    sed 's/^/# /' "$WORK/output"
    [ $passed = yes ]
}
