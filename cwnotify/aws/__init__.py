"""AWS: boto3 lives here and nowhere else. The Lambda function ships this package's `lambda_function` alone."""
