// SPDX-License-Identifier: GPL-2.0-only OR MIT

/*
 * A TCG plugin for QEMU: counts the instructions of the guest, and tells the guest on request.
 *
 * A program in the guest asks by executing MARK, a no-operation with a displacement that no compiler writes. Before it is
 * executed, RAX is set to the number of instructions that the guest has executed so far, kernel and programs together.
 * Without this plugin RAX stays as it was.
 *
 * Instructions are counted by translation block, at its beginning. A block that is left early by an exception counts in
 * full; each time that is a few instructions too many.
 *
 * Build with nothing but a C compiler: the few declarations of QEMU's interface that are needed stand here, because Debian
 * has no package with its header, and neither glib's headers in the build root. QEMU refuses a plugin whose version it
 * doesn't know, so a QEMU with another interface is noticed and not felt.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* ---- QEMU's interface, version 7, as of QEMU 11.1 ---- */

EXPORT int qemu_plugin_version = 7;

struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_plugin_scoreboard;

/* glib's arrays, as far as their users may look into them. */
struct array {
    void *data;
    unsigned int length;
};

struct register_descriptor {
    struct qemu_plugin_register *handle;
    const char *name;
    const char *feature;
    bool is_readonly;
};

struct counter {
    struct qemu_plugin_scoreboard *scores;
    size_t offset;
};

enum { INLINE_ADD_U64 = 0 };
enum { NO_REGISTERS = 0, READ_REGISTERS = 1, WRITE_REGISTERS = 2 };

void qemu_plugin_register_vcpu_init_cb(uint64_t id, void (*call)(unsigned int, void *), void *data);
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(struct qemu_plugin_tb *, void *), void *data);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int operation, struct counter, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*call)(unsigned int, void *), int, void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *, size_t);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t);
uint64_t qemu_plugin_u64_sum(struct counter);
struct array *qemu_plugin_get_registers(void);
bool qemu_plugin_write_register(struct qemu_plugin_register *, struct array *);

/* ---- The plugin ---- */

/* nopl 0x524f4f4d(%rax,%rax,1) */
static const uint8_t MARK[8] = { 0x0f, 0x1f, 0x84, 0x00, 'M', 'O', 'O', 'R' };

static struct counter executed;
static struct qemu_plugin_register *rax;

static void tell(unsigned int cpu, void *data)
{
    uint64_t count = qemu_plugin_u64_sum(executed);
    struct array bytes = { &count, sizeof(count) };

    (void)cpu;
    (void)data;
    if (rax)
        (void)qemu_plugin_write_register(rax, &bytes);
}

static void translate(struct qemu_plugin_tb *block, void *data)
{
    size_t count = qemu_plugin_tb_n_insns(block);
    uint8_t bytes[sizeof(MARK)];

    (void)data;
    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, INLINE_ADD_U64, executed, count);
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);

        if (qemu_plugin_insn_data(instruction, bytes, sizeof(bytes)) == sizeof(MARK) &&
            !memcmp(bytes, MARK, sizeof(MARK)))
            qemu_plugin_register_vcpu_insn_exec_cb(instruction, tell, WRITE_REGISTERS, NULL);
    }
}

static void find_registers(unsigned int cpu, void *data)
{
    struct array *registers = qemu_plugin_get_registers();

    (void)cpu;
    (void)data;
    for (unsigned int i = 0; registers && i < registers->length; i++) {
        const struct register_descriptor *descriptor = (const struct register_descriptor *)registers->data + i;

        if (!strcmp(descriptor->name, "rax"))
            rax = descriptor->handle;
    }
}

EXPORT int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
    (void)info;
    (void)argc;
    (void)argv;
    executed.scores = qemu_plugin_scoreboard_new(sizeof(uint64_t));
    qemu_plugin_register_vcpu_init_cb(id, find_registers, NULL);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate, NULL);
    return 0;
}
