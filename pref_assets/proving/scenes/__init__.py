"""A world of small pictures in which every claim of an answer can be checked."""
