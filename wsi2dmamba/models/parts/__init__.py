"""What several aggregators are built of: projection, pooling, lattice, blocks."""
