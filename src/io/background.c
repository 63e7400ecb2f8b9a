/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "background.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* One byte says "ready"; end of file says that the child is gone. */
static _Noreturn void await_child(pid_t child, int ready)
{
	char byte;
	ssize_t got;
	int status;

	do
		got = read(ready, &byte, 1);
	while (got < 0 && errno == EINTR);
	if (got == 1)
		_exit(EXIT_SUCCESS);
	if (waitpid(child, &status, 0) == child && WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	_exit(EXIT_FAILURE);
}

bool background_detach(struct background *background)
{
	int pipe_ends[2];

	if (pipe2(pipe_ends, O_CLOEXEC) != 0)
		return false;
	pid_t child = fork();
	if (child < 0) {
		close(pipe_ends[0]);
		close(pipe_ends[1]);
		return false;
	}
	if (child > 0) {
		close(pipe_ends[1]);
		await_child(child, pipe_ends[0]);
	}
	close(pipe_ends[0]);
	background->ready = pipe_ends[1];
	return setsid() >= 0 && chdir("/") == 0;
}

void background_ready(struct background *background)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	while (write(background->ready, "", 1) < 0 && errno == EINTR)
		continue;
	close(background->ready);
}
