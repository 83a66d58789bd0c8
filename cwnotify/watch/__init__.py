"""Watch CloudWatch and EC2 for panels. May import `aws`, `store`, `host` and what is below them."""
