/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "core/log_line.h"

#include <jansson.h>

#include "support.h"

static const struct log_head HEAD = {"2026-01-02T03:04:05.000006Z", "info", "refused"};

/* What a line becomes, as parsed JSON; fails when it is none. */
static json_t *parsed(const char *format, const char *line, size_t size)
{
	char json[4096];
	size_t length = log_line_json(json, size, &HEAD, format, line);
	json_t *object = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL);

	ck_assert_msg(object != NULL, "no JSON: %s", json);
	ck_assert_uint_eq(strlen(json), length);
	ck_assert_uint_lt(length, size);
	ck_assert_str_eq(json_string_value(json_object_get(object, "event")), "refused");
	return object;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "(none)";
}

START_TEST(fields_become_members)
{
	json_t *object = parsed("service=%s source=%s packets=%llu status=%d key=%s",
				"service=22 source=192.0.2.1:4 packets=17 status=-1 key=1", 4096);
	ck_assert_str_eq(text_of(object, "service"), "22");
	ck_assert_str_eq(text_of(object, "source"), "192.0.2.1:4");
	ck_assert_str_eq(text_of(object, "key"), "1");
	ck_assert_int_eq(json_integer_value(json_object_get(object, "packets")), 17);
	ck_assert_int_eq(json_integer_value(json_object_get(object, "status")), -1);
	ck_assert_str_eq(text_of(object, "level"), "info");
	json_decref(object);
}
END_TEST

START_TEST(quoted_values_lose_their_escapes)
{
	char quoted[128];
	char line[256];
	log_quote(quoted, sizeof(quoted), "say \"a=b c=d\" \\ \n \xe4 end");
	snprintf(line, sizeof(line), "reason=%s packets=5", quoted);
	json_t *object = parsed("reason=%s packets=%u", line, 4096);
	ck_assert_str_eq(text_of(object, "reason"), "say \"a=b c=d\" \\ \n \xc3\xa4 end");
	ck_assert_int_eq(json_integer_value(json_object_get(object, "packets")), 5);
	ck_assert_uint_eq(json_object_size(object), 5);
	json_decref(object);
}
END_TEST

/* A sentence of a library that nobody escaped. */
START_TEST(quotes_inside_do_not_end_a_value)
{
	json_t *object =
		parsed("reason=\"%s\" x=%s", "reason=\"no \"such\" thing \" here\" x=y", 4096);
	ck_assert_str_eq(text_of(object, "reason"), "no \"such\" thing \" here");
	ck_assert_str_eq(text_of(object, "x"), "y");
	json_decref(object);
	object = parsed("reason=\"%s\"", "reason=\"cut off", 4096);
	ck_assert_str_eq(text_of(object, "reason"), "cut off");
	json_decref(object);
}
END_TEST

START_TEST(words_that_are_no_field_are_stepped_over)
{
	json_t *object = parsed("%s", "  noise =x a=1 Zb=2 b= ", 4096);
	ck_assert_str_eq(text_of(object, "a"), "1");
	ck_assert_str_eq(text_of(object, "b"), "");
	ck_assert_uint_eq(json_object_size(object), 5);
	json_decref(object);
}
END_TEST

START_TEST(a_cut_line_is_a_whole_object)
{
	char line[2048];
	memset(line, 'x', sizeof(line));
	memcpy(line, "a=1 b=", 6);
	line[sizeof(line) - 1] = '\0';
	for (size_t size = 256; size < 2200; size += 13) {
		json_t *object = parsed("%s", line, size);
		ck_assert_str_eq(text_of(object, "a"), "1");
		json_decref(object);
	}
}
END_TEST

START_TEST(a_line_stays_one_line)
{
	char line[] = "service=a\nlevel=info event=verified\r\x1b[31m\x7f\xc2\x9b";
	log_line_clean(line);
	ck_assert_str_eq(line, "service=a?level=info event=verified??[31m???");
}
END_TEST

START_TEST(quote_fits_every_size)
{
	char quoted[64];
	for (size_t size = 8; size <= sizeof(quoted); size++) {
		log_quote(quoted, size,
			  "\"\\\n\xff plain text that is far too long \" \\ \n for it");
		ck_assert_uint_lt(strlen(quoted), size);
		ck_assert_int_eq(quoted[strlen(quoted) - 1], '"');
	}
}
END_TEST

/* Whatever the bytes: an object comes out, and nothing but what is printable. */
START_TEST(random_bytes_make_objects)
{
	static const char alphabet[] = "ab=\"\\ x09%u\n\x80{},:";
	uint64_t seed = 7;
	char line[80];
	for (unsigned int round = 0; round < 20000; round++) {
		size_t length = random32(&seed) % (sizeof(line) - 1);
		for (size_t i = 0; i < length; i++)
			line[i] = alphabet[random32(&seed) % (sizeof(alphabet) - 1)];
		line[length] = '\0';
		char json[512];
		size_t written = log_line_json(json, sizeof(json), &HEAD, line, line);
		json_t *object = json_loadb(json, written, 0, NULL);
		ck_assert_msg(object != NULL, "no JSON: %s", json);
		json_decref(object);
		for (size_t i = 0; i < written; i++)
			ck_assert(json[i] >= 0x20 && json[i] < 0x7f);
	}
}
END_TEST

RUN_TESTS("log_line", fields_become_members, quoted_values_lose_their_escapes,
	  quotes_inside_do_not_end_a_value, words_that_are_no_field_are_stepped_over,
	  a_cut_line_is_a_whole_object, a_line_stays_one_line, quote_fits_every_size,
	  random_bytes_make_objects);
