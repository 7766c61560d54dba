"""Self-supervised pretraining of speech encoders: masks, objectives, data, the training module, its health guard."""
