/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "io/config.h"
#include "show.h"

static const char USAGE[] =
	"Usage: knockctl stats [--socket PATH] [--json]\n"
	"Shows the packets that the daemon was asked about: by reason, by verdict, by queue.\n"
	"\n" CONTROL_OPTIONS_USAGE "\n"
	"A packet counts once by reason and once by verdict: under the key that fits, or under "
	"its\n"
	"service when none does. SERVICE and KEY are \"-\" where none is known. WAITING packets "
	"have\n"
	"no verdict yet; DROPPED ones found the queue full, SOCKET ones the socket of the queue;\n"
	"ERRORS are verdicts that the kernel did not take.\n";

/* The objects of one kind. */
static void print_kind(const json_t *objects, const char *kind, const struct column *columns,
		       size_t count)
{
	json_t *chosen = json_array();

	for (size_t i = 0; i < json_array_size(objects); i++) {
		json_t *object = json_array_get(objects, i);
		const char *found = json_string_value(json_object_get(object, "kind"));
		if (found != NULL && strcmp(found, kind) == 0)
			json_array_append(chosen, object);
	}
	print_table(chosen, columns, count);
	json_decref(chosen);
}

static void print_stats(const json_t *objects)
{
	static const struct column packets[] = {
		{"ROLE", "role", false},     {"SERVICE", "service", false}, {"KEY", "key", false},
		{"REASON", "reason", false}, {"PACKETS", "packets", true},
	};
	static const struct column verdicts[] = {
		{"ROLE", "role", false},       {"SERVICE", "service", false}, {"KEY", "key", false},
		{"VERDICT", "verdict", false}, {"PACKETS", "packets", true},
	};
	static const struct column queues[] = {
		{"ROLE", "role", false},
		{"QUEUE", "queue", true},
		{"WAITING", "waiting", true},
		{"PACKETS", "packets", true},
		{"DROPPED", "dropped", true},
		{"SOCKET", "socket_dropped", true},
		{"ERRORS", "verdict_errors", true},
	};

	print_kind(objects, "packets", packets, sizeof(packets) / sizeof(packets[0]));
	putchar('\n');
	print_kind(objects, "verdicts", verdicts, sizeof(verdicts) / sizeof(verdicts[0]));
	putchar('\n');
	print_kind(objects, "queue", queues, sizeof(queues) / sizeof(queues[0]));
}

int stats_main(int argc, char **argv)
{
	static const struct show show = {"stats", USAGE, print_stats, 0, 0};

	return show_main(argc, argv, &show);
}
