"""What holds a deployed model and its explanations to account: measures, and the audit that runs them."""
