/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ruleset_changes.h"

#include <stdlib.h>
#include <string.h>

#include "ruleset.h"

/* A piece of the text. */
struct piece {
	const char *start;
	size_t length;
};

/* A chain, set or map. */
struct object {
	struct piece kind; /* "chain", "set" or "map" */
	struct piece name;
	struct piece head;   /* the lines before rules or elements, with their newlines */
	struct piece *items; /* rules in their order, or elements */
	size_t count;
	bool changed; /* a chain whose rules are written anew */
};

struct objects {
	struct object *list;
	size_t count;
};

#define FOR_EACH_OBJECT(objects, row) \
	for (struct object *row = (objects)->list; row < (objects)->list + (objects)->count; row++)

static bool piece_is(struct piece piece, const char *text)
{
	return strlen(text) == piece.length && memcmp(piece.start, text, piece.length) == 0;
}

static int compare_pieces(const void *left_pointer, const void *right_pointer)
{
	const struct piece *left = left_pointer;
	const struct piece *right = right_pointer;
	size_t shorter = left->length < right->length ? left->length : right->length;
	int order = memcmp(left->start, right->start, shorter);

	if (order != 0)
		return order;
	return (left->length > right->length) - (left->length < right->length);
}

static bool pieces_equal(struct piece left, struct piece right)
{
	return compare_pieces(&left, &right) == 0;
}

static bool is_chain(const struct object *object)
{
	return piece_is(object->kind, "chain");
}

/* Takes a line, without its newline, off the text. */
static struct piece next_line(const char **text)
{
	size_t length = strcspn(*text, "\n");
	struct piece line = {*text, length};

	*text += length + ((*text)[length] == '\n');
	return line;
}

static bool starts_with(struct piece line, const char *start)
{
	return line.length >= strlen(start) && memcmp(line.start, start, strlen(start)) == 0;
}

static bool add_item(struct object *object, struct piece item)
{
	size_t count = object->count;

	/* The capacity is the next power of two: it grows when count reaches one. */
	if ((count & (count - 1)) == 0) {
		struct piece *grown = reallocarray(object->items, count > 0 ? 2 * count : 1,
						   sizeof(*object->items));
		if (grown == NULL)
			return false;
		object->items = grown;
	}
	object->items[object->count++] = item;
	return true;
}

/* "elements = { ELEMENT," and further lines "ELEMENT," up to one that ends in " }". */
static bool read_elements(struct object *object, struct piece line, const char **text)
{
	static const char opening[] = "\t\telements = { ";

	line.start += strlen(opening);
	line.length -= strlen(opening);
	for (;;) {
		size_t blank = strspn(line.start, "\t ");
		struct piece element = {line.start + blank, line.length - blank};
		bool last = element.length > 0 && element.start[element.length - 1] == '}';
		element.length -= last ? strlen(" }") : strlen(",");
		if (!add_item(object, element))
			return false;
		if (last || **text == '\0')
			return true;
		line = next_line(text);
	}
}

/* "\tKIND NAME {": the head is what comes before the first rule or element. */
static bool read_object(struct object *object, struct piece line, const char **text)
{
	const char *end = line.start + line.length - strlen(" {");
	const char *space = memchr(line.start, ' ', line.length);

	object->kind = (struct piece){line.start + 1, (size_t)(space - line.start) - 1};
	object->name = (struct piece){space + 1, (size_t)(end - space) - 1};
	object->head = (struct piece){*text, 0};
	while (**text != '\0') {
		line = next_line(text);
		if (piece_is(line, "\t}"))
			break;
		if (starts_with(line, "\t\telements = { ")) {
			if (!read_elements(object, line, text))
				return false;
		} else if (!is_chain(object) || starts_with(line, "\t\ttype ")) {
			object->head.length = (size_t)(*text - object->head.start);
		} else if (!add_item(object, (struct piece){line.start + 2, line.length - 2})) {
			return false;
		}
	}
	return true;
}

static struct object *add_object(struct objects *objects)
{
	struct object *grown =
		reallocarray(objects->list, objects->count + 1, sizeof(*objects->list));

	if (grown == NULL)
		return NULL;
	objects->list = grown;
	grown += objects->count++;
	*grown = (struct object){0};
	return grown;
}

static bool read_objects(struct objects *objects, const char *text)
{
	while (*text != '\0') {
		struct piece line = next_line(&text);
		if (line.length < 2 || line.start[0] != '\t')
			continue;
		struct object *object = add_object(objects);
		if (object == NULL || !read_object(object, line, &text))
			return false;
	}
	return true;
}

static void free_objects(struct objects *objects)
{
	FOR_EACH_OBJECT(objects, object)
	{
		free(object->items);
	}
	free(objects->list);
}

static struct object *find(const struct objects *objects, const struct object *like)
{
	FOR_EACH_OBJECT(objects, object)
	{
		if (pieces_equal(object->name, like->name) &&
		    pieces_equal(object->kind, like->kind))
			return object;
	}
	return NULL;
}

static bool is_base_chain(const struct object *object)
{
	return is_chain(object) && object->head.length > 0;
}

static void write_name(FILE *stream, const char *verb, const struct object *object)
{
	fprintf(stream, "%s %.*s inet " RULESET_TABLE " %.*s", verb, (int)object->kind.length,
		object->kind.start, (int)object->name.length, object->name.start);
}

static void write_elements(FILE *stream, const char *verb, const struct object *object,
			   const struct piece *elements, size_t count)
{
	if (count == 0)
		return;
	fprintf(stream, "%s element inet " RULESET_TABLE " %.*s { ", verb, (int)object->name.length,
		object->name.start);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "%s%.*s", i > 0 ? ", " : "", (int)elements[i].length,
			elements[i].start);
	fputs(" }\n", stream);
}

/* Keeps in *wanted, which it sorts, those elements that are not in other, which is sorted. */
static size_t subtract(struct piece *wanted, size_t count, const struct piece *other,
		       size_t other_count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (other_count == 0 ||
		    bsearch(&wanted[i], other, other_count, sizeof(*other), compare_pieces) == NULL)
			wanted[kept++] = wanted[i];
	return kept;
}

static struct piece *sorted_copy(const struct object *object)
{
	struct piece *copy = malloc((object->count + 1) * sizeof(*copy));

	if (copy == NULL || object->count == 0)
		return copy;
	memcpy(copy, object->items, object->count * sizeof(*copy));
	qsort(copy, object->count, sizeof(*copy), compare_pieces);
	return copy;
}

/* Elements of from that into has not; into may be NULL. */
static bool write_difference(FILE *stream, const char *verb, const struct object *from,
			     const struct object *into)
{
	static const struct object nothing;
	struct piece *left = sorted_copy(from);
	struct piece *right = sorted_copy(into != NULL ? into : &nothing);
	bool fine = left != NULL && right != NULL;

	if (fine)
		write_elements(stream, verb, from, left,
			       subtract(left, from->count, right, into != NULL ? into->count : 0));
	free(left);
	free(right);
	return fine;
}

static bool same_rules(const struct object *left, const struct object *right)
{
	if (left->count != right->count)
		return false;
	for (size_t i = 0; i < left->count; i++)
		if (!pieces_equal(left->items[i], right->items[i]))
			return false;
	return true;
}

/* New objects come first, without contents, so that all others may refer to them. */
static void write_additions(FILE *stream, const struct objects *old, const struct objects *new)
{
	FOR_EACH_OBJECT(new, object)
	{
		const struct object *before = find(old, object);

		object->changed =
			is_chain(object) &&
			(before == NULL ? object->count > 0 : !same_rules(before, object));
		if (before != NULL)
			continue;
		write_name(stream, "add", object);
		if (object->head.length > 0)
			fprintf(stream, " {\n%.*s\t}", (int)object->head.length,
				object->head.start);
		fputc('\n', stream);
	}
}

/* Everything that refers to something goes before what it refers to. */
static bool write_removals(FILE *stream, const struct objects *old, const struct objects *new)
{
	FOR_EACH_OBJECT(old, object)
	{
		const struct object *after = find(new, object);

		if (!is_chain(object)) {
			if (!write_difference(stream, "delete", object, after))
				return false;
		} else if (object->count > 0 && (after == NULL || after->changed)) {
			write_name(stream, "flush", object);
			fputc('\n', stream);
		}
	}
	return true;
}

static bool write_contents(FILE *stream, const struct objects *old, const struct objects *new)
{
	FOR_EACH_OBJECT(new, object)
	{
		if (!is_chain(object) &&
		    !write_difference(stream, "add", object, find(old, object)))
			return false;
	}
	FOR_EACH_OBJECT(new, object)
	{
		for (size_t i = 0; object->changed && i < object->count; i++)
			fprintf(stream, "add rule inet " RULESET_TABLE " %.*s %.*s\n",
				(int)object->name.length, object->name.start,
				(int)object->items[i].length, object->items[i].start);
	}
	return true;
}

static void write_deletions(FILE *stream, const struct objects *old, const struct objects *new)
{
	FOR_EACH_OBJECT(old, object)
	{
		if (find(new, object) != NULL || is_base_chain(object))
			continue;
		/* A queue rule of xt_queue.h is not in the text. */
		if (is_chain(object) && object->count == 0) {
			write_name(stream, "flush", object);
			fputc('\n', stream);
		}
		write_name(stream, "delete", object);
		fputc('\n', stream);
	}
}

static void write_object(FILE *stream, const struct object *object)
{
	fprintf(stream, "\t%.*s %.*s {\n%.*s", (int)object->kind.length, object->kind.start,
		(int)object->name.length, object->name.start, (int)object->head.length,
		object->head.start);
	for (size_t i = 0; i < object->count; i++) {
		const char *before = is_chain(object) ? "\t\t" : i == 0 ? "\t\telements = { " : "";
		const char *after = is_chain(object)         ? "\n"
				    : i + 1 == object->count ? " }\n"
							     : ",\n";
		fprintf(stream, "%s%.*s%s", before, (int)object->items[i].length,
			object->items[i].start, after);
	}
	fputs("\t}\n", stream);
}

static bool finish(FILE *stream, char **text)
{
	bool written = ferror(stream) == 0;

	/* Where fclose is short of memory there is no text, and fclose does not tell. */
	if (fclose(stream) == 0 && written && *text != NULL)
		return true;
	free(*text);
	*text = NULL;
	return false;
}

/* What is there after the transaction: the new objects, and old base chains without rules. */
static bool write_result(const struct objects *old, const struct objects *new, char **result)
{
	size_t size;
	FILE *stream = open_memstream(result, &size);

	if (stream == NULL)
		return false;
	FOR_EACH_OBJECT(new, object)
	{
		write_object(stream, object);
	}
	FOR_EACH_OBJECT(old, object)
	{
		struct object emptied = *object;

		emptied.count = 0;
		if (is_base_chain(object) && find(new, object) == NULL)
			write_object(stream, &emptied);
	}
	return finish(stream, result);
}

/* Adding a chain that is there already fails only where its table is not. */
static void write_probe(FILE *stream, const struct objects *old)
{
	FOR_EACH_OBJECT(old, object)
	{
		if (!is_chain(object) || is_base_chain(object))
			continue;
		write_name(stream, "add", object);
		fputc('\n', stream);
		return;
	}
}

bool ruleset_changes(const char *old_text, const char *new_text, FILE *commands, char **result)
{
	struct objects old = {0};
	struct objects new = {0};
	bool fine = read_objects(&old, old_text) && read_objects(&new, new_text);

	*result = NULL;
	if (fine) {
		write_probe(commands, &old);
		write_additions(commands, &old, &new);
		fine = write_removals(commands, &old, &new) && write_contents(commands, &old, &new);
		write_deletions(commands, &old, &new);
		fine = fine && ferror(commands) == 0 && write_result(&old, &new, result);
	}
	free_objects(&old);
	free_objects(&new);
	return fine;
}

bool ruleset_additions(const char *old_text, const char *new_text, char **result)
{
	struct objects old = {0};
	struct objects new = {0};
	size_t size;
	size_t chains = 0;
	FILE *stream;

	*result = NULL;
	stream = open_memstream(result, &size);
	bool fine = stream != NULL && read_objects(&old, old_text) && read_objects(&new, new_text);

	if (fine)
		fputs(old_text, stream);
	FOR_EACH_OBJECT(&new, object)
	{
		if (!fine || find(&old, object) != NULL || is_base_chain(object))
			continue;
		chains += is_chain(object);
		object->count = is_chain(object) ? object->count : 0;
		write_object(stream, object);
	}
	free_objects(&old);
	free_objects(&new);
	fine = stream != NULL && finish(stream, result) && fine;
	if (fine && chains > 0)
		return true;
	free(*result);
	*result = NULL;
	return fine;
}

bool ruleset_has_chain(const char *text, const char *name)
{
	char opening[128];

	snprintf(opening, sizeof(opening), "\tchain %s {\n", name);
	return strstr(text, opening) != NULL;
}
