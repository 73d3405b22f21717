"""Words: tokens, clauses, English, and ranking of experts by their cards."""
