/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "control_answer.h"

#include "log.h"
#include "report.h"

enum { ANSWER_MAX = 8 * 1024 * 1024 };

/* An answer on its way into a buffer. */
struct answer {
	struct evbuffer *output;
	size_t count; /* objects */
	bool failed;
};

static int append(const char *bytes, size_t length, void *context)
{
	return evbuffer_add(context, bytes, length);
}

static void write_object(void *context, const json_t *object)
{
	struct answer *answer = context;

	answer->failed = answer->failed || object == NULL ||
			 evbuffer_get_length(answer->output) > ANSWER_MAX ||
			 json_dump_callback(object, append, answer->output, JSON_COMPACT) != 0 ||
			 evbuffer_add(answer->output, "\n", 1) != 0;
	answer->count++;
}

void control_answer_begin(struct evbuffer *output)
{
	evbuffer_add_printf(output, "{\"ok\":true}\n");
}

void control_answer_error(struct evbuffer *output, const char *error)
{
	json_t *object = json_pack("{sb ss}", "ok", 0, "error", error);

	if (object == NULL)
		object = json_pack("{sb ss}", "ok", 0, "error", "the error is not UTF-8");
	if (object != NULL && json_dump_callback(object, append, output, JSON_COMPACT) == 0)
		evbuffer_add(output, "\n", 1);
	json_decref(object);
}

static void write_report(struct answer *answer, const struct control_request *request,
			 const struct view *view)
{
	switch (request->command) {
	case CONTROL_STATUS:
		report_status(view, write_object, answer);
		break;
	case CONTROL_SERVICES:
		report_services(view, write_object, answer);
		break;
	case CONTROL_BACKENDS:
		report_backends(view, NULL, write_object, answer);
		break;
	case CONTROL_RELOAD:
		report_needs_restart(view, write_object, answer);
		break;
	case CONTROL_DRAIN:
	case CONTROL_UNDRAIN:
		report_backends(view, request->arguments[0], write_object, answer);
		break;
	case CONTROL_STATS:
		report_stats(view, write_object, answer);
		break;
	default:
		break;
	}
}

/* What a request changes. Returns false with one line in error. */
static bool act(const struct control_request *request, const struct daemon_interface *daemon,
		uint64_t *kicked, char error[static ACTION_ERROR_SIZE])
{
	const char *ends[CONTROL_ARGUMENTS];

	switch (request->command) {
	case CONTROL_RELOAD:
		return daemon->reload(daemon->context, error);
	case CONTROL_DRAIN:
	case CONTROL_UNDRAIN:
		return daemon->drain(daemon->context, request->arguments[0], request->arguments[1],
				     request->command == CONTROL_DRAIN, error);
	case CONTROL_KICK:
		for (size_t i = 1; i < request->count; i++)
			ends[i - 1] = request->arguments[i];
		return daemon->kick(daemon->context, request->arguments[0], ends,
				    request->count - 1, kicked, error);
	default:
		return true;
	}
}

void control_answer(struct evbuffer *output, const struct control_request *request,
		    const struct daemon_interface *daemon)
{
	struct answer answer = {.output = output};
	char error[ACTION_ERROR_SIZE];
	uint64_t kicked = 0;
	struct view view;

	if (!act(request, daemon, &kicked, error)) {
		control_answer_error(output, error);
		return;
	}
	daemon->look(daemon->context, &view);
	control_answer_begin(output);
	write_report(&answer, request, &view);
	if (request->command == CONTROL_KICK)
		report_kicked(request->arguments[0], kicked, write_object, &answer);
	if (answer.failed) {
		evbuffer_drain(output, evbuffer_get_length(output));
		control_answer_error(output, "the answer is too large, or memory is short");
		return;
	}
	evbuffer_add_printf(output, "{\"end\":%zu}\n", answer.count);
}
