"""The AWS stack: specification, plan and deployment."""
