# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What every script of the set-up shares: where things lie, what they are called, and how to talk to the person at
# the terminal. It is sourced, never run, and needs nothing but bash and coreutils, because it runs on a fresh host.

set -euo pipefail
# shellcheck source=scripts/help.sh
. "$(dirname "${BASH_SOURCE[0]}")/help.sh"

# The series that the driver is known to build and run on. This is the only list of them.
readonly SUPPORTED_KERNEL_SERIES="7.3"
readonly DEBIAN_SUITE=trixie

SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
CACHE=${MOORING_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mooring}
KERNEL_SERIES=${KERNEL_SERIES:-7.3}
# The flavour of the kernel: Debian's own, or one of those that scripts/kernel/ describes.
KERNEL=${KERNEL:-stock}

say()  { printf '%s\n' "$*" >&2; }
die()  { printf 'error: %s\n' "$*" >&2; exit 1; }

# hash_of prints a short key for what is on its standard input.
hash_of() { sha256sum | cut -c1-12; }

# The root is keyed by what defines it, so that a changed package list makes a new root and an old checkout still
# finds its own.
ROOT=$CACHE/root-$(cat "$SRC/scripts/packages.txt" <(echo "$DEBIAN_SUITE $(uname -m)") | hash_of)
# A system whose programs the guest runs as clients of a device, keyed the same way. It is apart from the build root, so that
# another program costs no other build root, and no other kernel.
# shellcheck disable=SC2034 # read by the scripts that source this file
CLIENTS=$CACHE/clients-$(cat "$SRC/scripts/guest/clients.txt" <(echo "$DEBIAN_SUITE $(uname -m)") | hash_of)
# The newest release of the series that is here, with its source and all its flavours.
KERNEL_DIR=$CACHE/kernel-$KERNEL_SERIES

# Every checkout has its own folder for what is built from it, so that the checkout itself stays clean.
BUILD=$CACHE/build-$(basename "$SRC")-$(echo "$SRC" | hash_of)
# shellcheck disable=SC2034 # read by the scripts that source this file
OUT=$SRC/out

# The tools for the register description are pinned in a file that belongs to hw-regs/.
PYTHON_REQUIREMENTS=$SRC/hw-regs/requirements.txt
VENV=$CACHE/venv-$({ echo "$ROOT"; cat "$PYTHON_REQUIREMENTS"; } | hash_of)

check_kernel() {
    case " $SUPPORTED_KERNEL_SERIES " in
        *" $KERNEL_SERIES "*) ;;
        *) die "KERNEL_SERIES=$KERNEL_SERIES is not supported; supported series: $SUPPORTED_KERNEL_SERIES" ;;
    esac
    case $KERNEL in
        stock|debug|kcsan) ;;
        *) die "there is no kernel '$KERNEL'; there are: stock debug kcsan" ;;
    esac
}

# kernel_options FLAVOUR prints the configuration of a flavour that is built here, an option a line.
kernel_options() {
    [ "$1" = stock ] || sed '/^#/d; /^$/d' "$SRC/scripts/kernel/base.config" "$SRC/scripts/kernel/$1.config"
}

# kernel_tree FLAVOUR prints the name of its folder in KERNEL_DIR. It is keyed by what defines it, as the root is.
kernel_tree() { echo "$1-$({ basename "$ROOT"; kernel_options "$1"; } | hash_of)"; }

# run_step TITLE SECONDS LOG COMMAND... runs a long command with its output in a log, and every few seconds says how
# long it has taken, how long it usually takes, and the newest line of the log.
run_step() {
    local title=$1 usual=$2 log=$3 pid begin=$SECONDS shown=0 status=0
    shift 3
    mkdir -p "$(dirname "$log")"
    say "==> $title (usually about $usual s; log: $log)"
    # A process group of its own, so that an interrupt ends the command with all its children.
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    pid=$!
    set +m
    # shellcheck disable=SC2064 # the process is known now and not later
    trap "kill -- -$pid 2>/dev/null || true; exit 130" INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        sleep 0.5
        if (( SECONDS - begin >= shown + 5 )); then
            shown=$((SECONDS - begin))
            say "    $shown s of about $usual s: $(tail -n 1 "$log" | tr '\r' '\n' | tail -n 1 | cut -c1-90)"
        fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    if (( status != 0 )); then
        tail -n 20 "$log" | sed 's/^/    | /' >&2
        die "$title failed after $((SECONDS - begin)) s. The whole log is $log; what is finished is kept, so run the same command again once the cause is gone."
    fi
    say "    done in $((SECONDS - begin)) s"
}
