/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What comes over the control socket, and what goes into the log: the first byte chooses. A request
 * that is taken has only printable words within their bounds; one that is not has one printable
 * line of error. Whatever a log line holds, its JSON is one printable line that begins and ends an
 * object, and a quoted value never ends early. */
#include "core/control_request.h"
#include "core/log_line.h"
#include "fuzz.h"

static bool is_printable(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text < 0x20 || *text >= 0x7f)
			return false;
	return true;
}

static void try_request(const uint8_t *data, size_t size)
{
	struct control_request request;
	char error[CONTROL_ERROR_SIZE] = "";

	if (!control_request_parse(&request, (const char *)data, size, error)) {
		MUST(error[0] != '\0' && is_printable(error));
		return;
	}
	MUST(request.command < CONTROL_COUNT && request.count <= CONTROL_ARGUMENTS);
	MUST(size < CONTROL_LINE_SIZE);
	for (size_t i = 0; i < request.count; i++)
		MUST(request.arguments[i][0] != '\0' && is_printable(request.arguments[i]) &&
		     strchr(request.arguments[i], ' ') == NULL);
}

static void check_fields(const char *line)
{
	const char *end = line + strlen(line);
	struct log_field field;

	for (const char *at = line; log_field_next(&at, &field);) {
		MUST(field.key >= line && field.key_length > 0);
		MUST(field.value + field.value_length <= end && at <= end);
	}
}

static void try_line(const uint8_t *data, size_t size)
{
	static const struct log_head head = {"2026-01-02T03:04:05.000006Z", "info", "fuzz"};
	char text[1024];
	char quoted[sizeof(text) * 4 + 16];
	char json[2048];
	struct log_field field;

	if (size >= sizeof(text))
		return;
	memcpy(text, data, size);
	text[size] = '\0';
	/* What is quoted comes back as one value. */
	char line[sizeof(quoted) + 16];
	snprintf(line, sizeof(line), "value=%s", log_quote(quoted, sizeof(quoted), text));
	const char *at = line;
	MUST(log_field_next(&at, &field) && field.quoted && *at == '\0');
	check_fields(text);
	size_t length = log_line_json(json, sizeof(json), &head, text, text);
	MUST(length < sizeof(json) && strlen(json) == length && is_printable(json));
	MUST(json[0] == '{' && json[length - 1] == '}');
	log_line_clean(text);
	MUST(is_printable(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if ((data[0] & 1) != 0)
		try_line(data + 1, size - 1);
	else
		try_request(data + 1, size - 1);
	return 0;
}
