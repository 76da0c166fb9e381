// SPDX-License-Identifier: GPL-2.0-only OR MIT
//
// A guest that needs no kernel: it drives one virtio-net PCI device and says what became of its frames.
//
// QEMU starts it by PVH (-kernel), in 32-bit protected mode without paging, so that every address is a physical one. A Linux
// guest takes minutes to boot on a processor that is emulated by an emulated processor; this one takes seconds.
//
// The device must return what it sends, as a device on a card with a loopback uplink does. The guest sends numbered frames,
// and each must come back once, in order and unchanged. What it should do stands on its command line:
//
//   rounds=N   reset the device and start it anew so often (default 1)
//   frames=N   frames in each round (default 64)
//   lost=N     so many frames may be missing in all, because somebody moves the guest meanwhile (default 0)
//   pause=N    let N milliseconds pass between bursts, so that a round takes some time (default 0)
//
// It writes to QEMU's debug console (port 0xe9), a line for each event, and ends QEMU with status 33 if everything is well and
// 35 if not (isa-debug-exit at port 0xf4). It uses no interrupts: it looks at the used rings, as a polling driver does.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// ---- What the ELF file says to QEMU, and the first instructions ----

__asm__(".pushsection .note.Xen, \"a\", @note\n"
	".long 4, 4, 18\n" // lengths of name and value; XEN_ELFNOTE_PHYS32_ENTRY
	".asciz \"Xen\"\n"
	".long start\n"
	".popsection\n"
	".pushsection .text.start, \"ax\"\n"
	".globl start\n"
	"start:\n"
	"	mov $stack_end, %esp\n"
	"	push %ebx\n" // struct hvm_start_info
	"	call guest_main\n"
	".popsection\n");

char stack[65536] __attribute__((aligned(16), used));
__asm__(".globl stack_end\n.set stack_end, stack + 65536\n");

// ---- Ports ----

static inline void out8(u16 port, u8 value) { __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline void out32(u16 port, u32 value) { __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port)); }
static inline u32 in32(u16 port)
{
	u32 value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline u64 clock(void)
{
	u64 value;
	__asm__ volatile("rdtsc" : "=A"(value));
	return value;
}
// Writes to memory before it are seen by the device before those after it.
static inline void barrier(void) { __asm__ volatile("lock; addl $0, (%%esp)" : : : "memory", "cc"); }

// ---- Saying what happens ----

static void say(const char *text)
{
	while (*text)
		out8(0xe9, *text++);
}

static void say_number(u32 value)
{
	char digits[11], *digit = digits + 10;

	*digit = 0;
	do {
		*--digit = '0' + value % 10;
		value /= 10;
	} while (value);
	say(digit);
}

static void end(u8 code) __attribute__((noreturn));
static void end(u8 code)
{
	for (;;)
		out8(0xf4, code);
}

static void fail(const char *what, u32 got, u32 wanted) __attribute__((noreturn));
static void fail(const char *what, u32 got, u32 wanted)
{
	say("FAILED: ");
	say(what);
	say(": ");
	say_number(got);
	say(" instead of ");
	say_number(wanted);
	say("\n");
	end(17);
}

// ---- The command line ----

static u32 option(const char *line, const char *name, u32 otherwise)
{
	for (; *line; line++) {
		const char *here = line, *letter = name;
		u32 value = 0;

		while (*letter && *here == *letter)
			here++, letter++;
		if (*letter || *here != '=')
			continue;
		for (here++; *here >= '0' && *here <= '9'; here++)
			value = value * 10 + (*here - '0');
		return value;
	}
	return otherwise;
}

// ---- PCI ----

static u32 config_read(u32 device, u32 offset)
{
	out32(0xcf8, 0x80000000 | device << 11 | (offset & 0xfc));
	return in32(0xcfc);
}

static u8 config_byte(u32 device, u32 offset) { return config_read(device, offset) >> (offset & 3) * 8; }

static void config_write(u32 device, u32 offset, u32 value)
{
	out32(0xcf8, 0x80000000 | device << 11 | (offset & 0xfc));
	out32(0xcfc, value);
}

// ---- The device's registers (virtio 1.3, 4.1.4) ----

struct common {
	volatile u32 device_feature_select, device_feature, driver_feature_select, driver_feature;
	volatile u16 config_msix_vector, num_queues;
	volatile u8 status, config_generation;
	volatile u16 queue_select, queue_size, queue_msix_vector, queue_enable, queue_notify_off;
	volatile u32 queue_desc[2], queue_driver[2], queue_device[2];
};

static struct common *common;
static volatile u8 *config, *notify;
static u32 notify_multiplier;

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };

static void find_device(void)
{
	u32 device, capability;

	for (device = 0; config_read(device, 0) != 0x10411af4; device++)
		if (device == 32)
			fail("virtio-net devices", 0, 1);
	// Memory and bus mastering.
	config_write(device, 4, config_read(device, 4) | 6);
	for (capability = config_byte(device, 0x34); capability; capability = config_byte(device, capability + 1)) {
		u8 *address;

		if (config_byte(device, capability) != 9)
			continue;
		address = (u8 *)(config_read(device, 0x10 + 4 * config_byte(device, capability + 4)) & ~15u) +
			  config_read(device, capability + 8);
		switch (config_byte(device, capability + 3)) {
		case 1:
			common = (struct common *)address;
			break;
		case 2:
			notify = address;
			notify_multiplier = config_read(device, capability + 16);
			break;
		case 4:
			config = address;
			break;
		}
	}
	if (!common || !notify || !config)
		fail("structures of the device", 0, 3);
}

// ---- Split virtqueues ----

enum { ENTRIES = 32, WRITE = 2, NEXT = 1 };

struct queue {
	struct { u64 address; u32 length; u16 flags, next; } descriptors[ENTRIES] __attribute__((aligned(4096)));
	struct { volatile u16 flags, index, ring[ENTRIES], event; } available __attribute__((aligned(4096)));
	struct { volatile u16 flags, index; struct { volatile u32 id, length; } ring[ENTRIES]; volatile u16 event; } used __attribute__((aligned(4096)));
	u16 taken, number;
	volatile u16 *doorbell;
};

// Of the second pair, only the rings are there: nothing is sent on it.
static struct queue queues[5];
enum { RECEIVE, TRANSMIT, CONTROL = 4 };
static u8 buffers[2][ENTRIES][2048] __attribute__((aligned(4096)));
enum { HEADER = 12 };

static void start_queue(struct queue *queue, u16 number)
{
	u8 *byte;

	for (byte = (u8 *)queue; byte < (u8 *)(queue + 1); byte++)
		*byte = 0;
	common->queue_select = number;
	if (common->queue_size < ENTRIES)
		fail("entries of a queue", common->queue_size, ENTRIES);
	common->queue_size = ENTRIES;
	common->queue_desc[0] = (u32)queue->descriptors;
	common->queue_desc[1] = 0;
	common->queue_driver[0] = (u32)&queue->available;
	common->queue_driver[1] = 0;
	common->queue_device[0] = (u32)&queue->used;
	common->queue_device[1] = 0;
	queue->available.flags = 1; // no interrupts
	queue->number = number;
	queue->doorbell = (volatile u16 *)(notify + common->queue_notify_off * notify_multiplier);
	common->queue_enable = 1;
}

// Makes the chain that begins with a descriptor available; the device learns of it by `ring_doorbell`.
static void offer(struct queue *queue, u16 first)
{
	queue->available.ring[queue->available.index % ENTRIES] = first;
	barrier();
	queue->available.index++;
}

static void ring_doorbell(struct queue *queue)
{
	barrier();
	if (!(queue->used.flags & 1))
		*queue->doorbell = queue->number;
}

// Waits for the next used chain, at most some seconds. Returns whether it came.
static int next_used(struct queue *queue, u32 *id, u32 *length)
{
	u64 begin = clock();

	while (queue->used.index == queue->taken) {
		if (clock() - begin > 8000000000ull)
			return 0;
		if (common->status & NEEDS_RESET)
			fail("status", common->status, common->status & ~NEEDS_RESET);
		__asm__ volatile("pause");
	}
	barrier();
	*id = queue->used.ring[queue->taken % ENTRIES].id;
	*length = queue->used.ring[queue->taken % ENTRIES].length;
	queue->taken++;
	return 1;
}

// ---- Starting the device ----

enum { MAC = 1 << 5, CTRL_VQ = 1 << 17, CTRL_RX = 1 << 18, MQ = 1 << 22 };

// Has the control queue carry out a command: all multicast frames, on or off.
static void command(u8 on)
{
	struct queue *queue = &queues[CONTROL];
	static u8 message[4];
	u32 id, length;

	message[0] = 0; // VIRTIO_NET_CTRL_RX
	message[1] = 1; // VIRTIO_NET_CTRL_RX_ALLMULTI
	message[2] = on;
	message[3] = 0xff;
	queue->descriptors[0].address = (u32)message;
	queue->descriptors[0].length = 3;
	queue->descriptors[0].flags = NEXT;
	queue->descriptors[0].next = 1;
	queue->descriptors[1].address = (u32)(message + 3);
	queue->descriptors[1].length = 1;
	queue->descriptors[1].flags = WRITE;
	offer(queue, 0);
	ring_doorbell(queue);
	if (!next_used(queue, &id, &length))
		fail("commands that were carried out", 0, 1);
	if (((volatile u8 *)message)[3])
		fail("status of a command", message[3], 0);
}

// Returns the features of the lower half that were agreed upon.
static u32 start_device(void)
{
	u32 offered, wanted, upper, number, pairs = 1;

	common->status = 0;
	while (common->status)
		__asm__ volatile("pause");
	common->status = ACKNOWLEDGE;
	common->status = ACKNOWLEDGE | DRIVER;
	common->device_feature_select = 0;
	offered = common->device_feature;
	common->device_feature_select = 1;
	upper = common->device_feature & 3; // VERSION_1, ACCESS_PLATFORM
	wanted = offered & (MAC | CTRL_VQ | CTRL_RX | MQ);
	if (wanted & MQ)
		pairs = *(volatile u16 *)(config + 8);
	if (pairs > 2)
		fail("queue pairs", pairs, 2);
	common->driver_feature_select = 0;
	common->driver_feature = wanted;
	common->driver_feature_select = 1;
	common->driver_feature = upper;
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK;
	if (!(common->status & FEATURES_OK))
		fail("status", common->status, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	for (number = 0; number < 2 * pairs; number++)
		start_queue(&queues[number], number);
	if (wanted & CTRL_VQ)
		start_queue(&queues[CONTROL], 2 * pairs);
	for (number = 0; number < ENTRIES; number++) {
		queues[RECEIVE].descriptors[number].address = (u32)buffers[RECEIVE][number];
		queues[RECEIVE].descriptors[number].length = sizeof(buffers[RECEIVE][number]);
		queues[RECEIVE].descriptors[number].flags = WRITE;
		queues[TRANSMIT].descriptors[number].address = (u32)buffers[TRANSMIT][number];
		offer(&queues[RECEIVE], number);
	}
	common->status = ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK;
	ring_doorbell(&queues[RECEIVE]);
	if ((wanted & CTRL_RX) && (wanted & CTRL_VQ)) {
		command(1);
		command(0);
	}
	return wanted;
}

// ---- Frames ----

static u32 length_of(u32 number) { return HEADER + 60 + number * 37 % 1440; }

static void write_frame(u8 *packet, u32 number)
{
	u32 position;

	for (position = 0; position < HEADER; position++)
		packet[position] = 0;
	for (; position < HEADER + 6; position++) {
		packet[position] = 0xff;
		packet[position + 6] = config[position - HEADER];
	}
	// An EtherType for experiments.
	packet[HEADER + 12] = 0x88;
	packet[HEADER + 13] = 0xb5;
	*(u32 *)(packet + HEADER + 16) = number;
	packet[HEADER + 14] = packet[HEADER + 15] = 0;
	for (position = HEADER + 20; position < length_of(number); position++)
		packet[position] = number + position;
}

static void check_frame(const u8 *packet, u32 length, u32 number)
{
	u32 position;

	if (length != length_of(number))
		fail("length of a frame", length, length_of(number));
	for (position = HEADER + 20; position < length; position++)
		if (packet[position] != (u8)(number + position))
			fail("a frame's byte", packet[position], (u8)(number + position));
}

static u32 sent, lost;

// Sends so many frames and takes them back; returns how many are missing.
static u32 burst(u32 count)
{
	u32 number, id, length, expected = sent, last = sent + count;

	for (number = 0; number < count; number++, sent++) {
		u16 slot = number % ENTRIES;

		write_frame(buffers[TRANSMIT][slot], sent);
		queues[TRANSMIT].descriptors[slot].length = length_of(sent);
		offer(&queues[TRANSMIT], slot);
	}
	ring_doorbell(&queues[TRANSMIT]);
	for (number = 0; number < count; number++)
		if (!next_used(&queues[TRANSMIT], &id, &length))
			fail("frames that were sent", number, count);
	for (number = 0; expected != last; expected++) {
		const u8 *packet;
		u32 got;

		if (!next_used(&queues[RECEIVE], &id, &length))
			return number + last - expected;
		if (id >= ENTRIES)
			fail("a buffer", id, ENTRIES - 1);
		packet = buffers[RECEIVE][id];
		got = *(const u32 *)(packet + HEADER + 16);
		if (got < expected || got >= last)
			fail("the number of a frame", got, expected);
		number += got - expected;
		expected = got;
		check_frame(packet, length, got);
		offer(&queues[RECEIVE], id);
		ring_doorbell(&queues[RECEIVE]);
	}
	return number;
}

static void wait(u32 milliseconds)
{
	u64 begin = clock();

	while (clock() - begin < (u64)milliseconds * 1000000)
		__asm__ volatile("pause");
}

// The part of QEMU's struct hvm_start_info that is of use here.
struct start_info { u32 magic, version, flags, num_modules; u64 modules, command_line; };

void guest_main(const struct start_info *info)
{
	const char *line = (const char *)(u32)info->command_line;
	u32 round, rounds = option(line, "rounds", 1), frames = option(line, "frames", 64);
	u32 pause = option(line, "pause", 0), may_lose = option(line, "lost", 0);

	find_device();
	for (round = 1; round <= rounds; round++) {
		u32 features = start_device(), done;

		for (done = 0; done < frames; done += ENTRIES / 2) {
			lost += burst(ENTRIES / 2);
			if (lost > may_lose)
				fail("frames that are missing", lost, may_lose);
			if (pause) {
				say("frames: ");
				say_number(sent);
				say(", lost: ");
				say_number(lost);
				say("\n");
				wait(pause);
			}
		}
		say("round ");
		say_number(round);
		say(features & CTRL_VQ ? ": control queue, " : ": ");
		say_number(sent);
		say(" frames sent, ");
		say_number(lost);
		say(" lost\n");
	}
	common->status = 0;
	say("well\n");
	end(16);
}
