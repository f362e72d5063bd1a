"""Settings of the models, beside them: one module for each module of models, free of torch."""
