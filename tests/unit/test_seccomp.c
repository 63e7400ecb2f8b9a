/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The filter of system calls. Each test runs in a process of its own (Check forks), which the
 * filter then holds. */
#include "io/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "build-config.h"
#include "support.h"

/* Runs a function in a confined child and returns how that ended (waitpid). */
static int confined(void (*function)(void))
{
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		char error[SECCOMP_ERROR_SIZE];
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !seccomp_confine(error))
			_exit(100);
		function();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static void must(bool fine, int number)
{
	if (!fine)
		_exit(number);
}

static void *count(void *argument)
{
	++*(int *)argument;
	return NULL;
}

static void use_what_is_allowed(void)
{
	pthread_t thread;
	int counted = 0;
	struct stat status;

	must(socket(AF_INET, SOCK_STREAM, 0) >= 0, 1);
	must(socket(AF_INET6, SOCK_STREAM, 0) >= 0 || errno == EAFNOSUPPORT, 2);
	must(socket(AF_UNIX, SOCK_STREAM, 0) >= 0, 3);
	must(socket(AF_NETLINK, SOCK_RAW, 12) >= 0, 4);
	must(pthread_create(&thread, NULL, count, &counted) == 0, 5);
	must(pthread_join(thread, NULL) == 0 && counted == 1, 6);
	must(stat("/", &status) == 0, 7);
	must(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		     MAP_FAILED,
	     8);
	must(fopen("/proc/sys/kernel/random/boot_id", "re") != NULL, 9);
}

START_TEST(test_allowed)
{
	int status = confined(use_what_is_allowed);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}
END_TEST

static void try_what_is_refused(void)
{
	must(socket(AF_PACKET, SOCK_RAW, 0) < 0 && errno == EPERM, 1);
	must(socket(AF_VSOCK, SOCK_STREAM, 0) < 0 && errno == EPERM, 2);
	must(syscall(SYS_memfd_create, "x", 0) < 0 && errno == EPERM, 3);
	must(syscall(SYS_symlinkat, "/a", AT_FDCWD, "/b") < 0 && errno == EPERM, 4);
#ifndef WITH_SANITIZERS
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(mprotect(page, 4096, PROT_READ | PROT_EXEC) < 0 && errno == EPERM, 5);
	must(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			     MAP_FAILED &&
		     errno == EPERM,
	     6);
	must(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 && errno == EPERM, 7);
	must(kill(getppid(), 0) < 0 && errno == EPERM, 8);
#endif
}

START_TEST(test_refused)
{
	int status = confined(try_what_is_refused);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
}
END_TEST

static int said[2];

static void run_a_shell(void)
{
	dup2(said[1], STDERR_FILENO);
	execl("/bin/sh", "sh", "-c", ":", (char *)NULL);
}

static void become_a_child(void)
{
	dup2(said[1], STDERR_FILENO);
	syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
}

static void unload_a_module(void)
{
	dup2(said[1], STDERR_FILENO);
	syscall(SYS_delete_module, "", 0);
}

static void assert_ends(void (*function)(void), const char *name)
{
	char expected[128];
	char line[256] = "";

	ck_assert_int_eq(pipe(said), 0);
	int status = confined(function);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS, "status %x",
		      (unsigned)status);
	ck_assert_int_gt(read(said[0], line, sizeof(line) - 1), 0);
	snprintf(expected, sizeof(expected),
		 "knockgw: level=error event=forbidden-system-call name=%s action=exit\n", name);
	ck_assert_str_eq(line, expected);
}

START_TEST(test_forbidden)
{
	assert_ends(unload_a_module, "delete_module");
#ifndef WITH_SANITIZERS
	assert_ends(run_a_shell, "execve");
	assert_ends(become_a_child, "clone");
#else
	/* The run-time libraries of sanitizers need these. */
	(void)run_a_shell;
	(void)become_a_child;
#endif
}
END_TEST

RUN_TESTS("seccomp", test_allowed, test_refused, test_forbidden);
