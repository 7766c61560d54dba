"""Which languages to pretrain on for a target language: typology, sound, phones, script and hours, in one ranking.

`typology` reads URIEL, `acoustic_tokens` compares recordings, `overlap` compares phones and scripts, `gain` fits a
curve of error against hours, `planning` joins them into ranked donors with sampling weights.
"""
