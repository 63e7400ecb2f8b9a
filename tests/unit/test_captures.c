/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The captures of a real Knock kernel, each with what a correct gateway decides. */
#include "core/replay.h"
#include "io/capture.h"
#include "support.h"

struct row {
	char *file;
	struct key key;
	struct service service;
	struct service_row endpoint;
	struct replay_summary expected;
};

/* Columns: file family mode n secret_hex server_addr port knock_kernel connections opened pending
 * refused_syn refused_data note */
static void read_row(struct row *row, char *line)
{
	uint8_t bytes[256];
	char *column[13];
	bool truncated;

	for (size_t i = 0; i < 13; i++)
		ck_assert_ptr_nonnull(column[i] = strsep(&line, "\t"));
	memset(row, 0, sizeof(*row));
	row->file = column[0];
	secret_from_bytes(&row->key.secret, bytes, unhex(bytes, sizeof(bytes), column[4]),
			  &truncated);
	row->service.integrity = (uint16_t)atoi(column[3]);
	row->service.keys = &row->key;
	row->service.key_count = 1;
	row->endpoint.endpoint = make_endpoint(column[5], (uint16_t)atoi(column[6]));
	row->endpoint.service = &row->service;
	row->expected = (struct replay_summary){
		.connections = strtoul(column[8], NULL, 10),
		.opened = strtoul(column[9], NULL, 10),
		.pending = strtoul(column[10], NULL, 10),
		.refused_syn = strtoul(column[11], NULL, 10),
		.refused_data = strtoul(column[12], NULL, 10),
	};
}

static void replay_packet(struct replay *replay, const struct captured_packet *captured)
{
	struct packet packet;
	struct segment segment;
	struct decision decision;

	if (!replay_read(&packet, &segment, captured->bytes, captured->length))
		return;
	struct moment now = {(uint64_t)captured->seconds * 1000, captured->seconds};
	replay_segment(replay, &segment, now, &decision);
}

static void check_row(char *line)
{
	char error[CAPTURE_ERROR_SIZE];
	char name[512];
	struct captured_packet captured;
	struct row row;
	int more;

	read_row(&row, line);
	snprintf(name, sizeof(name), "captures/%s", row.file);
	struct service_table *services = service_table_new(&row.endpoint, 1);
	struct replay *replay = replay_new(services, 1024);
	struct capture *capture = capture_open(data_path(name), error);
	ck_assert_msg(capture != NULL, "%s", error);
	while ((more = capture_next(capture, &captured, error)) > 0)
		replay_packet(replay, &captured);
	ck_assert_int_eq(more, 0);
	struct replay_summary summary = replay_summary(replay);
	ck_assert_msg(memcmp(&summary, &row.expected, sizeof(summary)) == 0,
		      "%s: opened %lu of %lu", row.file, (unsigned long)summary.opened,
		      (unsigned long)summary.connections);
	capture_close(capture);
	replay_free(replay);
	service_table_free(services);
}

START_TEST(test_manifest)
{
	FILE *stream = fopen(data_path("captures/manifest.tsv"), "r");
	char *line = NULL;
	size_t room = 0;
	int count = 0;

	ck_assert_ptr_nonnull(stream);
	ck_assert_int_gt(getline(&line, &room, stream), 0);
	for (; getline(&line, &room, stream) > 0; count++)
		check_row(line);
	ck_assert_int_eq(count, 98);
	free(line);
	fclose(stream);
}
END_TEST

RUN_TESTS("captures", test_manifest);
