"""Use: clips into an index, two stages of search, answers that say why, pages of players."""
