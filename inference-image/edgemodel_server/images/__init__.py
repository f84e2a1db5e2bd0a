"""Images in, classes out.

* ``forms``       multipart form → uploaded images
* ``headers``     image bytes → size and cost, before they are decoded
* ``decode``      image bytes → input tensor
* ``classifier``  output tensor → labels and probabilities
"""
