"""LICO: training an image classifier beside a frozen text encoder. Lei et al. 2023, Bartak et al., TMLR 2024."""
