"""What several questions need. It knows none of them."""
