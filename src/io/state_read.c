/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks at state files that a daemon may be writing to: see state.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/flow.h"
#include "state.h"

/* A daemon that writes meanwhile can make a copy inconsistent: then another one is taken. */
enum { TRIES = 10 };

struct copy {
	uint8_t *bytes;
	size_t size;
};

static bool read_whole(struct copy *copy, int fd)
{
	struct stat status;
	size_t done = 0;

	if (fstat(fd, &status) != 0)
		return false;
	copy->size = (size_t)status.st_size;
	copy->bytes = malloc(copy->size + 1);
	while (copy->bytes != NULL && done < copy->size) {
		ssize_t got = pread(fd, copy->bytes + done, copy->size - done, (off_t)done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		done += (size_t)got;
	}
	return copy->bytes != NULL;
}

static struct table *attach_copy(enum state_kind kind, int fd, struct copy *copy, uint64_t now,
				 const char **why)
{
	uint64_t boot = state_boot_number();
	struct table *table = NULL;

	for (int i = 0; table == NULL && i < TRIES; i++) {
		free(copy->bytes);
		copy->bytes = NULL;
		if (read_whole(copy, fd))
			table = state_attach(kind, copy->bytes, copy->size, boot, now, why);
		else
			*why = strerror(errno);
	}
	return table;
}

bool state_read(const char *directory, enum state_kind kind, uint64_t now,
		void (*found)(void *context, const struct tuple *tuple, const void *flow,
			      uint64_t remaining),
		void *context, char error[static STATE_ERROR_SIZE])
{
	for (unsigned int i = 0; i < FLOW_SHARDS; i++) {
		char name[STATE_NAME_SIZE];
		char path[4096];
		const char *why = NULL;
		struct copy copy = {0};

		snprintf(path, sizeof(path), "%s/%s", directory,
			 state_file_name(name, kind, i, ""));
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT && (i > 0 || kind != STATE_FLOWS))
			return true;
		if (fd < 0 && errno == ENOENT)
			why = "not there: expected the state_directory of a knockgw with egress "
			      "(--state-directory)";
		struct table *table = fd >= 0 ? attach_copy(kind, fd, &copy, now, &why) : NULL;
		if (table == NULL)
			snprintf(error, STATE_ERROR_SIZE, "%.200s: %s", path,
				 why != NULL ? why : strerror(errno));
		if (fd >= 0)
			close(fd);
		for (uint32_t slot = 0; table != NULL && slot < table_capacity(table); slot++) {
			const void *value = table_slot(table, slot);
			if (value != NULL && table_deadline(table, value) > now)
				found(context, table_tuple(value), value,
				      table_deadline(table, value) - now);
		}
		free(copy.bytes);
		if (table == NULL)
			return false;
	}
	return true;
}
