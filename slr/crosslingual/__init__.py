"""Cross-lingual signs: align, isolate, map, relabel (Wei and Chen, ICCV 2023), each stage with a file of its own."""
