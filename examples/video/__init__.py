"""Lip reading: video frames go through convolutional recurrent layers to words and sentences."""
