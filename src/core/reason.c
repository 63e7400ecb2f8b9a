/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "reason.h"

const char *reason_word(enum reason reason)
{
	static const char *const words[] = {
#define REASON_WORD(name, word, text) [REASON_##name] = word,
		REASON_TABLE(REASON_WORD)
#undef REASON_WORD
	};
	return (unsigned int)reason < REASON_COUNT ? words[reason] : "unknown";
}

const char *reason_text(enum reason reason)
{
	static const char *const texts[] = {
#define REASON_SENTENCE(name, word, text) [REASON_##name] = text,
		REASON_TABLE(REASON_SENTENCE)
#undef REASON_SENTENCE
	};
	return (unsigned int)reason < REASON_COUNT ? texts[reason] : "unknown";
}
