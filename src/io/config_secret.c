/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Secrets of the configuration. No diagnostic ever shows one. */
#include <stdlib.h>
#include <string.h>

#include "config_reader.h"
#include "core/secret.h"
#include "secret_file.h"

enum { ERROR_TEXT_SIZE = 512 };

static const char expected_secret[] =
	"a secret (plain text, h:hex digits, f:file or r:length:bytes)";

/* One warning for each file that holds a secret itself although others may read it. */
static void warn_of_exposure(struct reader *reader, const config_setting_t *setting)
{
	struct source *source = reader_source(reader, config_setting_source_file(setting));
	if (!source || source->exposure_told || !file_is_exposed(source->path, reader->group))
		return;
	source->exposure_told = true;
	reader_warning(reader, setting,
		       "a secret stands in this file, which group or others may read, expected "
		       "mode 0600, or the secret in a file of its own (f:)");
}

static bool read_secret_file(struct reader *reader, const config_setting_t *setting,
			     const struct secret_text *text, struct secret *secret, bool *truncated)
{
	char error[ERROR_TEXT_SIZE] = "";
	char *path;
	bool absolute = text->length > 0 && text->value[0] == '/';
	if (asprintf(&path, "%s%s%.*s", absolute ? "" : reader->folder, absolute ? "" : "/",
		     (int)text->length, text->value) < 0) {
		reader_memory_short(reader);
		return false;
	}
	bool fine = secret_file_read(secret, path, reader->group, truncated, error, sizeof(error));
	if (!fine)
		reader_error(reader, setting, "%s", error);
	free(path);
	return fine;
}

/* In any notation but f:. */
static bool is_empty(const config_setting_t *setting)
{
	const char *value = config_setting_get_string(setting);
	return value && (value[0] == '\0' || !strcmp(value, "h:") || !strcmp(value, "r:0:"));
}

bool read_secret(struct reader *reader, const config_setting_t *setting, struct secret *secret)
{
	struct secret_text text;
	const char *error = NULL;
	bool truncated = false;
	if (reader->offline && is_empty(setting)) {
		secret_from_bytes(secret, NULL, 0, &truncated);
		return true;
	}
	const char *value = read_string(reader, setting, expected_secret);
	if (!value)
		return false;
	if (!secret_text_parse(&text, value, strlen(value), &error)) {
		reader_error(reader, setting, "%s", error);
		return false;
	}
	if (text.notation == SECRET_FILE) {
		if (!read_secret_file(reader, setting, &text, secret, &truncated))
			return false;
	} else {
		warn_of_exposure(reader, setting);
		if (!secret_from_text(secret, &text, &truncated, &error)) {
			reader_error(reader, setting, "%s", error);
			return false;
		}
	}
	if (truncated)
		reader_warning(reader, setting,
			       "found more than %d bytes, the rest of the secret is not used",
			       SECRET_SIZE);
	return true;
}
