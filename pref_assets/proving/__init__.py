"""Which selectors work: tried on worlds with planted truth, and on real pairs, against random."""
