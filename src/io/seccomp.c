/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "seccomp.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "build-config.h"

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41 /* the C library names its mappings */
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Whatever their arguments. Names that an architecture does not have are passed over. */
static const char *const allowed[] = {
	/* files: configuration and secrets at a reload, the flow tables, the control socket */
	"read",
	"write",
	"readv",
	"writev",
	"pread64",
	"pwrite64",
	"lseek",
	"_llseek",
	"close",
	"open",
	"openat",
	"stat",
	"lstat",
	"fstat",
	"newfstatat",
	"statx",
	"stat64",
	"lstat64",
	"fstat64",
	"fstatat64",
	"statfs",
	"fstatfs",
	"statfs64",
	"fstatfs64",
	"access",
	"faccessat",
	"faccessat2",
	"readlink",
	"readlinkat",
	"getdents",
	"getdents64",
	"getcwd",
	"umask",
	"mkdir",
	"mkdirat",
	"unlink",
	"unlinkat",
	"rename",
	"renameat",
	"renameat2",
	"chmod",
	"fchmod",
	"fchmodat",
	"chown",
	"fchown",
	"lchown",
	"fchownat",
	"ftruncate",
	"ftruncate64",
	"fallocate",
	"fsync",
	"fdatasync",
	"flock",
	"fcntl",
	"fcntl64",
	"dup",
	"dup2",
	"dup3",
	"pipe",
	"pipe2",
	"sendfile",
	"sendfile64",
	/* netlink, health checks, control, metrics, syslog; "socket" has a rule of its own */
	"socketpair",
	"bind",
	"listen",
	"accept",
	"accept4",
	"connect",
	"getsockname",
	"getpeername",
	"getsockopt",
	"setsockopt",
	"send",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"recv",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"recvmmsg_time64",
	"shutdown",
	/* waiting */
	"poll",
	"ppoll",
	"ppoll_time64",
	"select",
	"_newselect",
	"pselect6",
	"pselect6_time64",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"eventfd2",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_gettime",
	"timerfd_settime64",
	"nanosleep",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"restart_syscall",
	/* memory and threads; "mmap", "mprotect" and "clone" have rules of their own */
	"munmap",
	"mremap",
	"madvise",
	"brk",
	"mlock",
	"mlock2",
	"munlock",
	"msync",
	"membarrier",
	"futex",
	"futex_time64",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"set_tid_address",
	"sched_yield",
	"sched_getaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"gettid",
	"getpid",
	"getppid",
	"getcpu",
	/* signals, time, and who we are */
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigreturn",
	"sigaltstack",
	"clock_gettime",
	"clock_gettime64",
	"clock_getres",
	"gettimeofday",
	"time",
	"times",
	"getrandom",
	"getrusage",
	"sysinfo",
	"uname",
	"getuid",
	"geteuid",
	"getgid",
	"getegid",
	"getgroups",
	"getresuid",
	"getresgid",
	"getrlimit",
	"ugetrlimit",
	"exit",
	"exit_group",
#ifdef WITH_SANITIZERS
	/* What the run-time libraries of sanitizers need to find leaks and to name functions. */
	"clone",
	"fork",
	"vfork",
	"execve",
	"wait4",
	"ptrace",
	"prctl",
	"prlimit64",
	"tgkill",
	"personality",
	"process_vm_readv",
	"ioctl",
	"mprotect",
	"mmap",
#endif
};

/* No code of the daemon or of its libraries calls these: whoever does has taken it over. */
static const char *const forbidden[] = {
#ifndef WITH_SANITIZERS
	"execve",
	"fork",
	"vfork",
	"ptrace",
	"process_vm_readv",
	"personality",
#endif
	"execveat",
	"process_vm_writev",
	"pidfd_getfd",
	"bpf",
	"perf_event_open",
	"userfaultfd",
	"io_uring_setup",
	"io_uring_enter",
	"init_module",
	"finit_module",
	"delete_module",
	"kexec_load",
	"kexec_file_load",
	"mount",
	"umount2",
	"move_mount",
	"open_tree",
	"fsopen",
	"pivot_root",
	"chroot",
	"unshare",
	"setns",
	"setuid",
	"setgid",
	"setreuid",
	"setregid",
	"setresuid",
	"setresgid",
	"setgroups",
	"capset",
	"add_key",
	"keyctl",
	"request_key",
};

/* Numbers of the forbidden calls, for the signal handler. */
static int forbidden_numbers[COUNT_OF(forbidden)];

static const char *forbidden_name(int number)
{
	for (size_t i = 0; i < COUNT_OF(forbidden); i++)
		if (forbidden_numbers[i] == number)
			return forbidden[i];
	return "clone";
}

static void tell(const char *text)
{
	ssize_t written = write(STDERR_FILENO, text, strlen(text));

	(void)written;
}

/* Runs in the middle of whatever an intruder does: nothing but write and raise. SA_RESETHAND makes
 * the second SIGSYS end the process. */
static void on_forbidden(int signal, siginfo_t *info, void *context)
{
	(void)context;
	tell("knockgw: level=error event=forbidden-system-call name=");
	tell(forbidden_name(info->si_syscall));
	tell(" action=exit\n");
	raise(signal);
}

static bool catch_forbidden(void)
{
	struct sigaction action = {.sa_sigaction = on_forbidden,
				   .sa_flags = SA_SIGINFO | (int)SA_RESETHAND | SA_NODEFER};

	return sigaction(SIGSYS, &action, NULL) == 0;
}

static int add_allowed(scmp_filter_ctx filter)
{
	int failure = 0;

	for (size_t i = 0; failure == 0 && i < COUNT_OF(allowed); i++) {
		int number = seccomp_syscall_resolve_name(allowed[i]);
		if (number != __NR_SCMP_ERROR)
			failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
	}
	return failure;
}

static int add_forbidden(scmp_filter_ctx filter)
{
	int failure = 0;

	for (size_t i = 0; failure == 0 && i < COUNT_OF(forbidden); i++) {
		int number = seccomp_syscall_resolve_name(forbidden[i]);
		forbidden_numbers[i] = number;
		if (number != __NR_SCMP_ERROR)
			failure = seccomp_rule_add(filter, SCMP_ACT_TRAP, number, 0);
	}
	return failure;
}

static int allow_value(scmp_filter_ctx filter, int number, unsigned int argument, uint64_t value)
{
	/* SCMP_CMP leaves the second value out, which clang warns of. */
	const struct scmp_arg_cmp equal = {.arg = argument, .op = SCMP_CMP_EQ, .datum_a = value};

	return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &equal);
}

static int allow_values(scmp_filter_ctx filter, int number, unsigned int argument,
			const uint64_t *values, size_t count)
{
	int failure = 0;

	for (size_t i = 0; failure == 0 && i < count; i++)
		failure = allow_value(filter, number, argument, values[i]);
	return failure;
}

#ifndef WITH_SANITIZERS
/* Threads yes, processes no; memory may be written or executed, never become executable. */
static int add_memory_and_threads(scmp_filter_ctx filter)
{
	static const char *const mapping[] = {"mmap", "mmap2", "mprotect"};
	static const uint64_t names[] = {PR_SET_NAME, PR_SET_VMA, PR_GET_DUMPABLE};
	static const uint64_t requests[] = {FIONREAD, FIONBIO, TCGETS, SIOCGIFNAME, SIOCGIFINDEX};
	int failure = 0;

	for (size_t i = 0; failure == 0 && i < COUNT_OF(mapping); i++) {
		int number = seccomp_syscall_resolve_name(mapping[i]);
		if (number != __NR_SCMP_ERROR)
			failure = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
						   SCMP_CMP(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	}
	if (failure == 0)
		failure = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			SCMP_CMP(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (failure == 0)
		failure = seccomp_rule_add(filter, SCMP_ACT_TRAP, SCMP_SYS(clone), 1,
					   SCMP_CMP(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, 0));
	if (failure == 0)
		failure = allow_values(filter, SCMP_SYS(prctl), 0, names, COUNT_OF(names));
	if (failure == 0)
		failure = allow_values(filter, SCMP_SYS(ioctl), 1, requests, COUNT_OF(requests));
	if (failure == 0) /* reading limits, not setting them */
		failure = allow_value(filter, SCMP_SYS(prlimit64), 2, 0);
	if (failure == 0) /* abort() */
		failure = allow_value(filter, SCMP_SYS(tgkill), 0, (uint64_t)getpid());
	return failure;
}
#else
static int add_memory_and_threads(scmp_filter_ctx filter)
{
	(void)filter;
	return 0;
}
#endif

static int add_rules(scmp_filter_ctx filter)
{
	static const uint64_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	int failure = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	/* What is refused shows in the audit log. Kernels before 4.14 do not have that. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	if (failure == 0)
		failure = add_allowed(filter);
	if (failure == 0)
		failure = add_forbidden(filter);
	if (failure == 0)
		failure = add_memory_and_threads(filter);
	/* Its flags cannot be looked at; without it the C library calls clone. */
	if (failure == 0)
		failure = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (failure == 0)
		failure = allow_values(filter, SCMP_SYS(socket), 0, families, COUNT_OF(families));
	return failure;
}

bool seccomp_confine(char error[static SECCOMP_ERROR_SIZE])
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int failure = filter == NULL ? -ENOMEM : 0;

	if (failure == 0)
		failure = add_rules(filter);
	if (failure == 0 && !catch_forbidden())
		failure = -errno;
	if (failure == 0)
		failure = seccomp_load(filter);
	if (filter != NULL)
		seccomp_release(filter);
	if (failure != 0)
		snprintf(error, SECCOMP_ERROR_SIZE, "the filter of system calls: %s",
			 strerror(-failure));
	return failure == 0;
}
