"""AWS through boto3. Apart from `lambda_function`, which ships alone, only this package uses boto3."""
