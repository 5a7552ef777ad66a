"""Jobs: stages of the method as processes that outlive whoever started them."""
