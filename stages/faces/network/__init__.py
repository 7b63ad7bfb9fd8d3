"""MobileFaceNet in Keras: architecture, layers, weights, and starting TensorFlow."""
