/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "verdict.h"

const char *verdict_word(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_PASS:
	case VERDICT_VERIFIED:
	case VERDICT_DELIVER:
		return "accept";
	case VERDICT_PENDING:
		return "pending";
	case VERDICT_DROP:
		return "drop";
	case VERDICT_LOOKUP:
		return "lookup";
	default:
		return "reject";
	}
}

const char *verdict_word_at(unsigned int index)
{
	static const char *const words[] = {"accept", "drop", "lookup", "pending", "reject"};

	return index < sizeof(words) / sizeof(words[0]) ? words[index] : NULL;
}
