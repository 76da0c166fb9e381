# SPDX-License-Identifier: GPL-2.0-only
#
# On a kernel with KCSAN, the data race detector, makes the Rust code of this directory tell it of
# every access to memory. That includes what comes from the kernel's crates inlined or as generics.
#
# The kernel does so for C only, with -fsanitize=thread. rustc refuses the same, -Zsanitizer=thread,
# because the kernel's target does not list it; and a target that does would be another one than that
# of the kernel's crates, which rustc then refuses. So LLVM is told directly what the option would
# tell it: to mark all functions as watched, before anything is optimised, and to run the pass that
# adds the calls. What the pass makes of volatile and other special accesses is set as for C.
#
# The line tables are for the reports, whose offsets say little where dozens of functions are inlined
# into one.

ifeq ($(CONFIG_KCSAN),y)
rustflags-y += -Cpasses=tsan -Cdebuginfo=line-tables-only
rustflags-y += -Cllvm-args=-force-attribute=sanitize_thread
rustflags-y += $(addprefix -Cllvm-args=,$(filter -tsan-%,$(CFLAGS_KCSAN)))
endif
