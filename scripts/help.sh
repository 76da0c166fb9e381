# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What the scripts share that run in the build root, and lib.sh with them. It is sourced, never run.

# print_help shows the comment block at the top of the calling script, so that help and source cannot drift apart.
print_help() { sed -n '/^# Usage:/,/^$/{/^#/s/^# \{0,1\}//p}' "$0"; }

unknown_argument() {
    echo "error: unknown argument '$1'; see $0 --help" >&2
    exit 2
}

require_build_root() {
    [ -d /src ] && [ "${KERNEL_RELEASE:-none}" != none ] && return
    echo "error: $0 runs in the build root, after make setup. Run: scripts/enter $0" >&2
    exit 1
}
