"""Model guidance: training a model to be right for what is in the boxes. Rao, Böhle, Parchami-Araghi, Schiele 2023."""
