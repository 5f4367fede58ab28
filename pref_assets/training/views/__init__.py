"""Views: further sequences made of a pair's own texts, without a model, the same for the same seed and pair."""
