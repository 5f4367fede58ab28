"""One thin file a stage: read inputs, call one function of a room, write, say what was written."""
