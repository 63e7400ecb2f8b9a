/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State files: what a daemon leaves, the next one finds. */
#include "io/state.h"

#include <sys/stat.h>
#include <unistd.h>

#include "core/flow.h"
#include "io/log.h"
#include "support.h"

enum { FLOWS = 100, NOW = 5000000, TIMEOUT = 1000000 };

static char folder[256];

static void set_up(void)
{
	const char *temporary = getenv("TMPDIR");

	snprintf(folder, sizeof(folder), "%s/knockgw-state-XXXXXX",
		 temporary != NULL ? temporary : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	strcat(folder, "/state");
	log_open(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT, true);
}

static void tear_down(void)
{
	char command[600];

	snprintf(command, sizeof(command), "rm -rf '%.*s'", (int)strlen(folder) - 6, folder);
	ck_assert_int_eq(system(command), 0);
}

static struct state *open_state(unsigned int count, uint32_t capacity)
{
	char error[STATE_ERROR_SIZE] = "";
	struct state *state = state_open(folder, STATE_FLOWS, count, capacity, NOW, error);

	ck_assert_msg(state != NULL, "%s", error);
	return state;
}

static struct tuple tuple_number(unsigned int number)
{
	return (struct tuple){make_endpoint("192.0.2.1", (uint16_t)(30000 + number)),
			      make_endpoint("198.51.100.1", 22)};
}

static void fill(const struct state *state, unsigned int count)
{
	for (unsigned int i = 0; i < FLOWS; i++) {
		struct tuple tuple = tuple_number(i);
		const struct flow flow = {.syn = {.isn = i, .delta = 7}};
		struct table *table = state_table(state, flow_shard(tuple.source.port, count));
		ck_assert_ptr_nonnull(table_insert(table, &tuple, &flow, NOW, TIMEOUT));
	}
}

static unsigned int present(const struct state *state, unsigned int count)
{
	unsigned int found = 0;

	for (unsigned int i = 0; i < FLOWS; i++) {
		struct tuple tuple = tuple_number(i);
		struct table *table = state_table(state, flow_shard(tuple.source.port, count));
		const struct flow *flow = table_find(table, &tuple);
		if (flow == NULL)
			continue;
		ck_assert_uint_eq(flow->syn.isn, i);
		ck_assert_uint_eq(table_deadline(table, flow), NOW + TIMEOUT);
		found++;
	}
	return found;
}

static bool exists(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return access(path, F_OK) == 0;
}

/* From any number of workers to any other. */
START_TEST(flows_are_taken_over)
{
	static const struct {
		unsigned int before, after;
		uint32_t capacity_after;
	} changes[] = {
		{2, 2, FLOWS}, {1, 3, FLOWS}, {3, 1, FLOWS}, {2, 2, 2 * FLOWS}, {64, 5, FLOWS}};
	struct state *state = open_state(changes[_i].before, FLOWS);

	fill(state, changes[_i].before);
	state_close(state);
	state = open_state(changes[_i].after, changes[_i].capacity_after);
	ck_assert_uint_eq(present(state, changes[_i].after), FLOWS);
	state_close(state);
	for (unsigned int i = 0; i < FLOW_SHARDS; i++) {
		char name[32];
		snprintf(name, sizeof(name), "flows-%u", i);
		ck_assert_int_eq(exists(name), i < changes[_i].after);
		strcat(name, ".new");
		ck_assert(!exists(name));
	}
}
END_TEST

START_TEST(less_room_keeps_what_fits)
{
	struct state *state = open_state(1, FLOWS);

	fill(state, 1);
	state_close(state);
	state = open_state(1, FLOWS / 2);
	ck_assert_uint_eq(present(state, 1), FLOWS / 2);
	state_close(state);
}
END_TEST

START_TEST(two_daemons_do_not_share)
{
	char error[STATE_ERROR_SIZE] = "";
	struct state *state = open_state(1, FLOWS);

	ck_assert_ptr_null(state_open(folder, STATE_FLOWS, 1, FLOWS, NOW, error));
	ck_assert_msg(strstr(error, "in use by another knockgw") != NULL, "%s", error);
	state_close(state);
	state_close(open_state(1, FLOWS));
}
END_TEST

struct seen {
	unsigned int flows;
	uint64_t remaining;
};

static void count_flow(void *context, const struct tuple *tuple, const void *flow,
		       uint64_t remaining)
{
	const struct flow *found = flow;
	struct seen *seen = context;
	struct tuple expected = tuple_number(found->syn.isn);

	ck_assert(tuple_equal(tuple, &expected));
	seen->flows++;
	seen->remaining += remaining;
}

START_TEST(files_can_be_read_meanwhile)
{
	char error[STATE_ERROR_SIZE] = "";
	struct seen seen = {0};

	ck_assert(!state_read(folder, STATE_FLOWS, NOW, count_flow, &seen, error));
	ck_assert_msg(strstr(error, "flows-0: not there") != NULL, "%s", error);
	struct state *state = open_state(3, FLOWS);
	fill(state, 3);
	ck_assert(state_read(folder, STATE_FLOWS, NOW + 1000, count_flow, &seen, error));
	ck_assert_uint_eq(seen.flows, FLOWS);
	ck_assert_uint_eq(seen.remaining, FLOWS * (TIMEOUT - 1000ULL));
	state_close(state);
}
END_TEST

/* Whatever stands in the file, the daemon starts, with or without these flows. */
START_TEST(damaged_files)
{
	char path[512];
	struct state *state = open_state(1, FLOWS);
	uint64_t random = 99;

	fill(state, 1);
	state_close(state);
	snprintf(path, sizeof(path), "%s/flows-0", folder);
	for (unsigned int i = 0; i < 200; i++) {
		struct stat status;
		FILE *stream = fopen(path, "r+e");
		ck_assert(stream != NULL && stat(path, &status) == 0);
		for (unsigned int k = 0; k < 20; k++) {
			fseek(stream, (long)(random32(&random) % (uint64_t)status.st_size),
			      SEEK_SET);
			fputc((int)random32(&random), stream);
		}
		fclose(stream);
		if (i % 10 == 9)
			ck_assert_int_eq(truncate(path, (off_t)(random32(&random) % 20000)), 0);
		state = open_state(1, FLOWS);
		struct table *table = state_table(state, 0);
		ck_assert_uint_le(table_count(table), FLOWS);
		table_expire(table, UINT64_MAX / 2, UINT32_MAX, NULL, NULL);
		ck_assert_uint_eq(table_count(table), 0);
		fill(state, 1);
		state_close(state);
	}
	ck_assert(exists("flows-0.refused"));
}
END_TEST

int main(void)
{
	TCase *tcase = tcase_create("state");

	tcase_set_timeout(tcase, 60);
	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_loop_test(tcase, flows_are_taken_over, 0, 5);
	tcase_add_test(tcase, less_room_keeps_what_fits);
	tcase_add_test(tcase, two_daemons_do_not_share);
	tcase_add_test(tcase, files_can_be_read_meanwhile);
	tcase_add_test(tcase, damaged_files);
	return run_tcase("state", tcase);
}
