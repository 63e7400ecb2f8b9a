/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/flow.h"
#include "core/siphash.h"
#include "core/splice.h"
#include "log.h"

static const struct {
	const char *prefix;
	const char *lock;
	struct table_layout (*layout)(uint32_t capacity);
} kinds[] = {
	[STATE_FLOWS] = {"flows", "lock", flow_table_layout},
	[STATE_INTEGRITY] = {"integrity", "integrity-lock", splice_table_layout},
};

/* A file mapped as a table. */
struct mapping {
	void *memory;
	size_t size;
	struct table *table;
};

struct state {
	enum state_kind kind;
	const char *path;
	int directory;
	int lock;
	uint64_t boot;
	uint64_t now;
	unsigned int count;
	struct mapping mappings[FLOW_SHARDS];
};

char *state_file_name(char name[static STATE_NAME_SIZE], enum state_kind kind, unsigned int worker,
		      const char *suffix)
{
	snprintf(name, STATE_NAME_SIZE, "%s-%u%s", kinds[kind].prefix, worker, suffix);
	return name;
}

uint64_t state_boot_number(void)
{
	static const uint8_t no_key[16];
	char text[64] = "";
	FILE *stream = fopen("/proc/sys/kernel/random/boot_id", "re");

	if (stream != NULL) {
		if (fgets(text, sizeof(text), stream) == NULL)
			text[0] = '\0';
		fclose(stream);
	}
	return siphash(no_key, text, strlen(text));
}

static void unmap(struct mapping *mapping)
{
	if (mapping->memory != NULL)
		munmap(mapping->memory, mapping->size);
	*mapping = (struct mapping){0};
}

static bool map(struct mapping *mapping, int fd, size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (memory == MAP_FAILED)
		return false;
	*mapping = (struct mapping){.memory = memory, .size = size};
	return true;
}

/* Makes an empty table in a new file. Its blocks are allocated now: a disk that is full later must
 * not kill the daemon by SIGBUS. */
static bool create(struct state *state, struct mapping *mapping, const char *name,
		   uint32_t capacity)
{
	struct table_layout layout = kinds[state->kind].layout(capacity);
	size_t size = table_size(&layout);
	uint8_t hash_key[16];
	int fd = openat(state->directory, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
			0600);

	if (fd < 0)
		return false;
	int failure = posix_fallocate(fd, 0, (off_t)size);
	if (failure == 0 && (!map(mapping, fd, size) ||
			     getrandom(hash_key, sizeof(hash_key), 0) != sizeof(hash_key)))
		failure = errno;
	close(fd);
	if (failure != 0) {
		unlinkat(state->directory, name, 0);
		errno = failure;
		return false;
	}
	mapping->table = table_init(mapping->memory, &layout, hash_key, state->now);
	table_set_boot(mapping->table, state->boot);
	return true;
}

/* Puts aside what cannot be used, so that somebody may look at it. */
static void refuse(struct state *state, unsigned int number, const char *why)
{
	char name[STATE_NAME_SIZE];
	char aside[STATE_NAME_SIZE];

	state_file_name(name, state->kind, number, "");
	state_file_name(aside, state->kind, number, ".refused");
	if (renameat(state->directory, name, state->directory, aside) != 0)
		unlinkat(state->directory, name, 0);
	log_event(LOG_LEVEL_ERROR, "state-refused",
		  "file=%s/%s reason=\"%s\" action=\"renamed to %s, starting without its flows\"",
		  state->path, name, why, aside);
}

struct table *state_attach(enum state_kind kind, void *memory, size_t size, uint64_t boot,
			   uint64_t now, const char **why)
{
	struct table_layout found = {0};

	/* Without a header to take the capacity from, table_attach says what is wrong. */
	table_layout_of(memory, size, &found);
	struct table_layout layout = kinds[kind].layout(found.capacity);
	return table_attach(memory, size, &layout, boot, now, why);
}

static const char *attach(struct state *state, struct mapping *mapping, int fd)
{
	struct stat status;
	const char *why;

	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
		return "empty, or not a regular file";
	if (!map(mapping, fd, (size_t)status.st_size))
		return strerror(errno);
	mapping->table = state_attach(state->kind, mapping->memory, mapping->size, state->boot,
				      state->now, &why);
	if (mapping->table != NULL)
		return NULL;
	unmap(mapping);
	return why;
}

/* Takes over the file of an earlier daemon, if there is one. */
static void take_over(struct state *state, struct mapping *mapping, unsigned int number)
{
	char name[STATE_NAME_SIZE];
	int fd = openat(state->directory, state_file_name(name, state->kind, number, ""),
			O_RDWR | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0) {
		if (errno != ENOENT)
			refuse(state, number, strerror(errno));
		return;
	}
	const char *why = attach(state, mapping, fd);
	close(fd);
	if (why != NULL)
		refuse(state, number, why);
}

/* Whether the files are just what this daemon wants. One that is missing may mean that there were
 * fewer workers before. */
static bool fits(const struct state *state, uint32_t capacity)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < FLOW_SHARDS; i++) {
		const struct table *table = state->mappings[i].table;
		if (table != NULL && (i >= state->count || table_capacity(table) != capacity))
			return false;
		found += table != NULL;
	}
	return found == 0 || found == state->count;
}

static unsigned int move_flows(struct mapping *old, struct mapping *new, unsigned int count,
			       uint64_t now)
{
	unsigned int lost = 0;

	for (uint32_t slot = 0; slot < table_capacity(old->table); slot++) {
		const void *value = table_slot(old->table, slot);
		if (value == NULL)
			continue;
		const struct tuple *tuple = table_tuple(value);
		uint64_t deadline = table_deadline(old->table, value);
		uint32_t left = deadline > now ? (uint32_t)(deadline - now) : 0;
		struct table *to = new[flow_shard(tuple->source.port, count)].table;
		if (table_find(to, tuple) == NULL)
			lost += table_insert(to, tuple, value, now, left) == NULL;
	}
	return lost;
}

/* Another number of workers, or other sizes: all flows go to new files, which then take the place
 * of the old ones. (Killed just between two of these renames, a daemon leaves some flows behind.)
 */
static bool rebuild(struct state *state, uint32_t capacity)
{
	struct mapping fresh[FLOW_SHARDS] = {0};
	char name[STATE_NAME_SIZE];
	char final[STATE_NAME_SIZE];
	unsigned int lost = 0;
	bool made = true;

	for (unsigned int i = 0; made && i < state->count; i++)
		made = create(state, &fresh[i], state_file_name(name, state->kind, i, ".new"),
			      capacity);
	for (unsigned int i = 0; i < FLOW_SHARDS; i++) {
		if (made && state->mappings[i].table != NULL)
			lost += move_flows(&state->mappings[i], fresh, state->count, state->now);
		unmap(&state->mappings[i]);
	}
	memcpy(state->mappings, fresh, sizeof(fresh));
	for (unsigned int i = 0; made && i < FLOW_SHARDS; i++) {
		state_file_name(final, state->kind, i, "");
		if (i >= state->count)
			unlinkat(state->directory, final, 0);
		else
			made = renameat(state->directory,
					state_file_name(name, state->kind, i, ".new"),
					state->directory, final) == 0;
	}
	if (lost > 0)
		log_event(LOG_LEVEL_WARNING, "flows-lost",
			  "flows=%u reason=\"max_flows is smaller than before\"", lost);
	return made;
}

static bool open_tables(struct state *state, uint32_t capacity)
{
	char name[STATE_NAME_SIZE];

	for (unsigned int i = 0; i < FLOW_SHARDS; i++)
		take_over(state, &state->mappings[i], i);
	if (!fits(state, capacity))
		return rebuild(state, capacity);
	for (unsigned int i = 0; i < state->count; i++)
		if (state->mappings[i].table == NULL &&
		    !create(state, &state->mappings[i], state_file_name(name, state->kind, i, ""),
			    capacity))
			return false;
	return true;
}

static bool open_directory(struct state *state, const char **what)
{
	*what = "cannot be opened";
	if (mkdir(state->path, 0700) != 0 && errno != EEXIST) {
		*what = "cannot be made";
		return false;
	}
	state->directory = open(state->path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (state->directory < 0)
		return false;
	*what = "cannot be written to";
	state->lock = openat(state->directory, kinds[state->kind].lock,
			     O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (state->lock < 0)
		return false;
	*what = "is in use by another knockgw";
	return flock(state->lock, LOCK_EX | LOCK_NB) == 0;
}

struct state *state_open(const char *directory, enum state_kind kind, unsigned int count,
			 uint32_t capacity, uint64_t now, char error[static STATE_ERROR_SIZE])
{
	struct state *state = calloc(1, sizeof(*state));
	const char *what = "no memory for it";

	if (state != NULL) {
		state->kind = kind;
		state->path = directory;
		state->directory = -1;
		state->lock = -1;
		state->boot = state_boot_number();
		state->now = now;
		state->count = count;
		bool opened = open_directory(state, &what);
		if (opened)
			what = "cannot hold the state files";
		if (opened && open_tables(state, capacity))
			return state;
	}
	snprintf(error, STATE_ERROR_SIZE, "state_directory %.200s %s: %s", directory, what,
		 strerror(errno));
	state_close(state);
	return NULL;
}

void state_close(struct state *state)
{
	if (state == NULL)
		return;
	for (unsigned int i = 0; i < FLOW_SHARDS; i++)
		unmap(&state->mappings[i]);
	if (state->lock >= 0)
		close(state->lock);
	if (state->directory >= 0)
		close(state->directory);
	free(state);
}

struct table *state_table(const struct state *state, unsigned int worker)
{
	return state->mappings[worker].table;
}
