"""From a folder of raw recordings to a pool for pretraining: measured once, screened as often as thresholds change.

`measuring` turns a file into segments with scores, `running` does that in processes or on Ray, `journal` keeps what was
measured, `comparing` finds copies and closeness to a domain, `selecting` reads scores and decides, `collecting` joins.
"""
