"""What is claimed is shown: benchmarks, the chaos suite, and the checker of histories."""
