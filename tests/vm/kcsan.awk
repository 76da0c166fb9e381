# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Leaves out of the kernel's log (dmesg -r, or a serial console's) the reports of KCSAN in which neither access is one of
# the driver's. The kernel's C code knows many races, and an interrupt has the driver in its stack by chance only: what
# counts is the innermost function, or who called it if it belongs to what Rust code accesses memory by.

function flush() {
    if (ours) printf "%s", report
    report = ""
    inside = ours = innermost = 0
}
{
    line = $0
    sub(/\r$/, "", line)
    sub(/^<[0-9]+>/, "", line)
    sub(/^\[[ 0-9.]*\] /, "", line)
}
# Other reports have such lines, too, so what follows decides.
line ~ /^==========+$/ {
    if (inside) flush()
    if (held != "") printf "%s", held
    held = $0 "\n"
    next
}
line ~ /^BUG: KCSAN: / { inside = 1; report = held; held = "" }
held != "" { printf "%s", held; held = "" }
!inside { print; next }
line ~ / to 0x[0-9a-f]+ of [0-9]+ bytes by / { innermost = 1 }
line ~ /^ [^ ]+\+0x/ && innermost {
    if (line ~ /\[mooring_/) ours = 1
    innermost = line ~ /^ (rust_helper_|_R|mem|__mem)/ && !ours
}
# Another processor may print in between; only what a report consists of is a part of it.
line ~ /^$|^BUG: KCSAN: | to 0x[0-9a-f]+ of [0-9]+ bytes by |^ [^ ]+\+0x|^ 0x|^ \||^ \+-> reordered|^ <|^value changed: |^bits changed: |^Reported by Kernel|^CPU: |^Tainted: |^Hardware name: |^race at unknown origin|^no locks held|^[0-9]+ locks? held|^ #[0-9]+: |^irq event stamp|^(hard|soft)irqs last / {
    report = report $0 "\n"
    next
}
{ print }
END {
    if (inside) flush()
    printf "%s", held
}
