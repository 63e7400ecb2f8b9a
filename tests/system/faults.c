/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Put in front of the C library (LD_PRELOAD), it makes calls fail as they hardly ever do by
 * themselves. A file named by FAULTS is mapped: what it says may change while the program runs. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <libconfig.h>
#include <libmnl/libmnl.h>
#include <link.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Known to test_faults_calls.py, too. All numbers in host byte order. */
struct faults {
	_Atomic int64_t owner;        /* whose allocations count: enum owner */
	_Atomic int64_t countdown;    /* the allocation that finds 1 fails; 0: none */
	_Atomic int64_t receive;      /* three of so many batches of packets are spoilt */
	_Atomic int64_t send;         /* 1: sending verdicts does */
	_Atomic int64_t clock;        /* seconds to add to the wall clock */
	_Atomic int64_t transactions; /* so many of the next ones the kernel refuses */
	_Atomic int64_t watch;        /* receiving news of rules: 1 finds some lost, once */
	_Atomic int64_t marks;        /* so many of the next changes of a ct mark fail */
	_Atomic int64_t done;         /* how often something failed */
	char place[256];              /* where the allocation failed */
};

enum owner { OWNER_REST = 1, OWNER_NFTABLES, OWNER_FRAGILE };

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static struct faults *faults;
static _Thread_local int owner_inside; /* whose code runs, as its callers tell */
static uintptr_t seccomp_start;
static uintptr_t seccomp_end;
static _Thread_local bool looking; /* what looks for the place may allocate */

/* What was covered, by the name that the dynamic linker finds next. */
#define NEXT(function)                     \
	static __typeof__(function) *next; \
	if (next == NULL)                  \
	next = (__typeof__(function) *)dlsym(RTLD_NEXT, #function)

/* The first callers outside of the C library and of this file. */
static void note_place(void)
{
	enum { FRAMES = 24, SHOWN = 3 };
	void *frames[FRAMES];
	Dl_info object;
	Dl_info own;
	int shown = 0;
	size_t used = 0;
	int count = backtrace(frames, FRAMES);

	dladdr((void *)(uintptr_t)note_place, &own);
	for (int i = 0; i < count && shown < SHOWN && used < sizeof(faults->place) - 1; i++) {
		if (dladdr(frames[i], &object) == 0 || object.dli_fbase == own.dli_fbase ||
		    strstr(object.dli_fname, "libc.so") != NULL)
			continue;
		const char *name = strrchr(object.dli_fname, '/');
		used += (size_t)snprintf(
			faults->place + used, sizeof(faults->place) - used, "%s+%#lx ",
			name != NULL ? name + 1 : object.dli_fname,
			(unsigned long)((char *)frames[i] - (char *)object.dli_fbase));
		shown++;
	}
}

static int find_seccomp(struct dl_phdr_info *object, size_t size, void *context)
{
	(void)size;
	(void)context;
	if (strstr(object->dlpi_name, "libseccomp.so") == NULL)
		return 0;
	for (int i = 0; i < object->dlpi_phnum; i++) {
		uintptr_t start = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
		if (object->dlpi_phdr[i].p_type != PT_LOAD ||
		    (object->dlpi_phdr[i].p_flags & PF_X) == 0)
			continue;
		seccomp_start = start;
		seccomp_end = start + object->dlpi_phdr[i].p_memsz;
	}
	return 1;
}

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAULTS");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *frames[2];

	/* Loads what it needs now: later a filter of system calls stands in the way. */
	backtrace(frames, 2);
	dl_iterate_phdr(find_seccomp, NULL);
	if (fd < 0)
		return;
	void *mapped = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED)
		faults = mapped;
}

static int owner_of(uintptr_t caller)
{
	if (caller >= seccomp_start && caller < seccomp_end)
		return OWNER_FRAGILE;
	return owner_inside != 0 ? owner_inside : OWNER_REST;
}

static bool fails(const void *caller)
{
	int owner = owner_of((uintptr_t)caller);

	if (faults == NULL || looking || atomic_load(&faults->owner) != owner)
		return false;
	int64_t left = atomic_load(&faults->countdown);
	while (left > 0 && !atomic_compare_exchange_weak(&faults->countdown, &left, left - 1))
		;
	if (left != 1)
		return false;
	looking = true;
	note_place();
	looking = false;
	atomic_fetch_add(&faults->done, 1);
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

void *reallocarray(void *memory, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

/* libconfig, libseccomp and what the C library looks users up with go on with a null pointer;
 * libnftables ends the program. They count by themselves. */
#define INSIDE(owner, call)               \
	int before = owner_inside;        \
	owner_inside = (owner);           \
	__typeof__(call) result = (call); \
	owner_inside = before;            \
	return result

int config_read(config_t *config, FILE *stream)
{
	NEXT(config_read);
	INSIDE(OWNER_FRAGILE, next(config, stream));
}

/* libconfig calls it from config_read, too. */
void config_init(config_t *config)
{
	int before = owner_inside;

	NEXT(config_init);
	owner_inside = OWNER_FRAGILE;
	next(config);
	owner_inside = before;
}

void config_set_include_dir(config_t *config, const char *directory)
{
	NEXT(config_set_include_dir);
	owner_inside = OWNER_FRAGILE;
	next(config, directory);
	owner_inside = 0;
}

struct passwd *getpwnam(const char *name)
{
	NEXT(getpwnam);
	INSIDE(OWNER_FRAGILE, next(name));
}

struct group *getgrnam(const char *name)
{
	NEXT(getgrnam);
	INSIDE(OWNER_FRAGILE, next(name));
}

struct nft_ctx *nft_ctx_new(uint32_t flags)
{
	NEXT(nft_ctx_new);
	INSIDE(OWNER_NFTABLES, next(flags));
}

int nft_ctx_buffer_output(struct nft_ctx *context)
{
	NEXT(nft_ctx_buffer_output);
	INSIDE(OWNER_NFTABLES, next(context));
}

int nft_ctx_buffer_error(struct nft_ctx *context)
{
	NEXT(nft_ctx_buffer_error);
	INSIDE(OWNER_NFTABLES, next(context));
}

const char *nft_ctx_get_error_buffer(struct nft_ctx *context)
{
	NEXT(nft_ctx_get_error_buffer);
	INSIDE(OWNER_NFTABLES, next(context));
}

/* counter: how many more are to fail. */
static bool is_refused(_Atomic int64_t *counter)
{
	int64_t left = atomic_load(counter);
	while (left > 0 && !atomic_compare_exchange_weak(counter, &left, left - 1))
		;
	if (left > 0)
		atomic_fetch_add(&faults->done, 1);
	return left > 0;
}

/* Really refused: something that cannot be done comes last in the same transaction. */
int nft_run_cmd_from_buffer(struct nft_ctx *context, const char *commands)
{
	static const char impossible[] = "\nadd element inet no_such_table no_such_set { 1 }\n";
	char *spoilt;

	NEXT(nft_run_cmd_from_buffer);
	if (faults == NULL || !is_refused(&faults->transactions)) {
		INSIDE(OWNER_NFTABLES, next(context, commands));
	}
	size_t size = strlen(commands) + sizeof(impossible);
	spoilt = __libc_malloc(size);
	if (spoilt == NULL)
		return -1;
	snprintf(spoilt, size, "%s%s", commands, impossible);
	int result = next(context, spoilt);
	free(spoilt);
	return result;
}

ssize_t mnl_socket_sendto(const struct mnl_socket *socket, const void *request, size_t length)
{
	const struct nlmsghdr *message = request;

	NEXT(mnl_socket_sendto);
	if (faults == NULL ||
	    message->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW) ||
	    !is_refused(&faults->marks))
		return next(socket, request, length);
	errno = ENOBUFS;
	return -1;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	NEXT(clock_gettime);
	int result = next(clock, now);

	if ((clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) && faults != NULL)
		now->tv_sec += atomic_load(&faults->clock);
	return result;
}

time_t time(time_t *result)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (result != NULL)
		*result = now.tv_sec;
	return now.tv_sec;
}

static int spoil_batch(struct mmsghdr *messages, int received, unsigned int round)
{
	switch (round % (unsigned int)atomic_load(&faults->receive)) {
	case 5:
		messages[0].msg_hdr.msg_flags |= MSG_TRUNC;
		break;
	case 8:
		messages[0].msg_len = messages[0].msg_len * 2 / 3;
		break;
	case 14:
		messages[received - 1].msg_len = 3;
		break;
	default:
		return received;
	}
	atomic_fetch_add(&faults->done, 1);
	return received;
}

/* Only calls that find a packet count, so that waiting does not use the faults up. */
int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags,
	     struct timespec *timeout)
{
	static atomic_uint rounds;
	char byte;

	NEXT(recvmmsg);
	if (faults == NULL || atomic_load(&faults->receive) == 0 ||
	    recvfrom(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT, NULL, NULL) < 0)
		return next(fd, messages, count, flags, timeout);
	unsigned int round = atomic_fetch_add(&rounds, 1);
	if (round % 16 == 3 || round % 16 == 11) {
		atomic_fetch_add(&faults->done, 1);
		errno = round % 16 == 3 ? EINTR : ENOBUFS;
		return -1;
	}
	int received = next(fd, messages, count, flags, timeout);
	return received > 0 ? spoil_batch(messages, received, round) : received;
}

/* Only news of rules are received in this way. */
ssize_t recv(int fd, void *buffer, size_t length, int flags)
{
	int64_t one = 1;

	NEXT(recv);
	if (faults == NULL || !atomic_compare_exchange_strong(&faults->watch, &one, 0))
		return next(fd, buffer, length, flags);
	atomic_fetch_add(&faults->done, 1);
	errno = ENOBUFS;
	return -1;
}

ssize_t sendmsg(int fd, const struct msghdr *header, int flags)
{
	static atomic_uint rounds;
	const struct nlmsghdr *message =
		header->msg_iovlen > 0 ? header->msg_iov[0].iov_base : NULL;

	NEXT(sendmsg);
	if (faults == NULL || atomic_load(&faults->send) == 0 || message == NULL ||
	    header->msg_iov[0].iov_len < sizeof(*message) ||
	    message->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT))
		return next(fd, header, flags);
	unsigned int round = atomic_fetch_add(&rounds, 1);
	if (round % 16 == 3) {
		atomic_fetch_add(&faults->done, 1);
		errno = EINTR;
		return -1;
	}
	/* Twice the same: the second time its packets are gone. */
	if (round % 16 == 9) {
		atomic_fetch_add(&faults->done, 1);
		if (next(fd, header, flags) < 0)
			return -1;
	}
	return next(fd, header, flags);
}
