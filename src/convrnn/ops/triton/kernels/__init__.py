"""The kernels' source. Importing it imports Triton, which chooses here between its compiler and its interpreter."""
