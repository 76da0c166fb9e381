# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Leaves out of the kernel's log (dmesg -r) the reports of KCSAN in which neither access is one of the driver's. The
# kernel's C code knows many races, and an interrupt has the driver in its stack by chance only: what counts is the
# innermost function, or who called it if it belongs to what Rust code accesses memory by.

{
    line = $0
    sub(/\r$/, "", line)
    sub(/^<[0-9]+>/, "", line)
    sub(/^\[[ 0-9.]*\] /, "", line)
}
line ~ /^==========+$/ {
    inside = !inside
    if (!inside && (report !~ /BUG: KCSAN/ || ours)) printf "%s", report
    report = ""
    ours = innermost = 0
    next
}
# Lines of others may come between those of a report.
!inside || line ~ /^mooring[-_a-z]*[ :]/ { print; next }
line ~ / to 0x[0-9a-f]+ of [0-9]+ bytes by / { innermost = 1 }
line ~ /^ [^ ]+\+0x/ && innermost {
    if (line ~ /\[mooring_/) ours = 1
    innermost = line ~ /^ (rust_helper_|_R|mem|__mem)/ && !ours
}
{ report = report $0 "\n" }
END { if (inside) printf "%s", report }
