//! The chain, tried against a fake metadata service and a fake STS that check what they are asked.
