"""Images in, classes out.

* ``forms``       multipart form → uploaded images
* ``decode``      image bytes → input tensor
* ``classifier``  output tensor → labels and probabilities
"""
