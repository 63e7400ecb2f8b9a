/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Any file as a capture, its packets before the protect engine: what knockctl replay does. */
#include <sys/mman.h>
#include <unistd.h>

#include "core/replay.h"
#include "fuzz.h"
#include "io/capture.h"

static const struct key key = {.name = "1", .secret = {.bytes = "Magic secret string"}};
static const struct service service = {
	.name = "fuzz", .integrity = 28, .keys = &key, .key_count = 1};

/* The services of the captures of tests/data. */
static struct service_table *make_services(void)
{
	struct service_row rows[2] = {{.service = &service}, {.service = &service}};

	MUST(endpoint_parse_address(&rows[0].endpoint, "10.44.0.1"));
	MUST(endpoint_parse_address(&rows[1].endpoint, "fd44::1"));
	rows[0].endpoint.port = rows[1].endpoint.port = 4242;
	return service_table_new(rows, 2);
}

static void judge(struct replay *replay, const struct captured_packet *captured)
{
	struct packet packet;
	struct segment segment;
	struct decision decision;

	if (!replay_read(&packet, &segment, captured->bytes, captured->length))
		return;
	MUST(replay_kind(&segment) != NULL);
	if (replay_segment(replay, &segment,
			   (struct moment){.steady = (uint64_t)captured->seconds * 1000},
			   &decision))
		MUST(reason_word(decision.reason) != NULL);
}

static void replay_capture(const char *path, const struct service_table *services)
{
	char error[CAPTURE_ERROR_SIZE] = "";
	struct captured_packet captured;
	struct capture *capture = capture_open(path, error);

	if (capture == NULL) {
		MUST(error[0] != '\0');
		return;
	}
	struct replay *replay = replay_new(services, 8);
	int more;
	while ((more = capture_next(capture, &captured, error)) > 0)
		judge(replay, &captured);
	MUST(more == 0 || error[0] != '\0');
	struct replay_summary summary = replay_summary(replay);
	MUST(summary.connections ==
	     summary.opened + summary.pending + summary.refused_syn + summary.refused_data);
	replay_free(replay);
	capture_close(capture);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct service_table *services;
	char path[64];
	int fd = memfd_create("capture", MFD_CLOEXEC);

	if (services == NULL)
		services = make_services();
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	replay_capture(path, services);
	close(fd);
	return 0;
}
